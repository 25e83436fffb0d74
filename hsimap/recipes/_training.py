"""How a network is fitted: losses, balancing, optimiser, patches, and where it runs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hsimap.config import Settings

Share = Annotated[float, Field(ge=0, lt=1)]


class AugmentSettings(Settings):
    """Random changes of training patches."""

    flips: bool = True
    """Mirror along rows and columns."""
    turns: bool = True
    """Turn by quarters."""
    brightness: Share = 0.0
    """Standard deviation of one factor a patch, as uneven illumination gives."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of independent noise, in standard deviations of the band."""
    band_dropout: Share = 0.0
    """Largest share of the bands, one run of neighbours a patch, that is set to the band's mean."""
    smoothing: float = Field(default=0.0, ge=0)
    """Largest width, full at half maximum in nm, of the bands of other sensors that a patch is seen
    with; each draws its own between 0 and this, and every second is also sampled more coarsely and
    brought back by lines between the samples. The bands need wavelengths."""


class LossSettings(Settings):
    """Loss of a kind of task."""

    categorical: Literal["cross_entropy", "focal"] = "cross_entropy"
    """Over labelled pixels, weighted as class_weights says: cross-entropy, or focal loss, which
    counts pixels that are already right for less."""
    continuous: Literal["l1", "mse", "smooth_l1"] = "l1"
    """Over labelled pixels, of scaled values (see `targets`): absolute error, squared error, or
    squared below smooth_l1_beta and absolute above."""
    focal_alpha: float = Field(default=0.25, gt=0)
    """Factor of the focal loss."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """Exponent of the focal loss; 0 = cross-entropy times focal_alpha."""
    smooth_l1_beta: float = Field(default=1.0, gt=0)
    """Error, in scaled values, at which smooth_l1 turns from squared to absolute."""
    divide_by: Literal["weights", "pixels"] | None = None
    """What the sum over the pixels is divided by: the sum of their class weights, or their number.
    null: weights for cross_entropy, as torch does, and pixels for focal."""


class GradNormSettings(Settings):
    """balancing gradnorm: weights that let all tasks learn at a like pace (Chen et al. 2018)."""

    alpha: float = Field(default=1.0, ge=0)
    """How strongly tasks that learn slowly are favoured; 0 = equal gradients."""
    learning_rate: float = Field(default=0.025, gt=0)
    """Of the weights; they have an Adam of their own."""
    update_every: int = Field(default=1, ge=1)
    """Steps between updates of the weights; each costs one backward pass a task through the part
    behind the shared layer."""
    layer: str | None = None
    """Weight of the network, by its name, whose gradient is measured. null: the last convolution
    before a normalisation that every task depends on."""


class DwaSettings(Settings):
    """balancing dwa: dynamic weight average over the epochs (Liu et al. 2019)."""

    temperature: float = Field(default=2.0, gt=0)
    """Softness; high = nearly equal weights."""


class PretrainSettings(Settings):
    """Training without labels before the training: hidden bands are restored from the others."""

    epochs: int = Field(default=0, ge=0)
    """Its length, in epochs of samples_per_epoch patches round labelled and unlabelled pixels that
    are in no other fold; 0 = none."""
    masked: Share = 0.5
    """About the share of the bands of a patch that is hidden, in runs of neighbours."""
    learning_rate: float | None = Field(default=None, gt=0)
    """null: that of the training."""


class TrainingSettings(Settings):
    """How the network is fitted."""

    patch: int = Field(default=32, ge=8, le=4096)
    """Side of a training patch in pixels; also the window of the network's attention."""
    batch: int = Field(default=16, ge=1)
    """Patches a step."""
    epochs: int = Field(default=60, ge=1)
    """Longest run."""
    samples_per_epoch: int | None = Field(default=None, ge=1)
    """Patches an epoch. null: as many as cover the labelled training pixels four times, and at
    least 16 steps."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """Which labelled pixel a patch is drawn round: each equally often; or each categorical task
    equally often and in it each class, so that rare classes are seen."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Highest rate of the optimiser."""
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    """adamw: weight decay apart from the gradient; adam and sgd: weight decay added to the gradient
    (L2)."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Of kernels; biases, norms and the weights of tasks take none."""
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.999)
    """adamw and adam: decay of the running averages of the gradient and of its square."""
    momentum: Share = 0.9
    """sgd: share of the last step that is kept."""
    warmup_epochs: int = Field(default=2, ge=0)
    """Epochs of the linear rise to learning_rate."""
    warmup: Literal["steps", "epochs"] = "steps"
    """Whether the rate rises with every step or stays the same within an epoch."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """After the rise: constant, or half a cosine down to 0 at the last epoch."""
    average: Share = 0.99
    """Decay of the running average of the weights, which is validated and kept; 0 = no average."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 = no limit."""
    balancing: Literal["equal", "fixed", "uncertainty", "gradnorm", "dwa"] = "uncertainty"
    """How the losses of the tasks are added: with weight 1, with task_weights, with learned weights
    (homoscedastic uncertainty), or with weights from the gradients or from the pace of the losses.
    A task without a label in a batch neither counts there nor moves its weight."""
    task_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """balancing fixed: weight by task; 1 where not given."""
    gradnorm: GradNormSettings = GradNormSettings()
    """balancing gradnorm: {alpha, learning_rate, update_every, layer}."""
    dwa: DwaSettings = DwaSettings()
    """balancing dwa: {temperature}."""
    class_weights: Literal["none", "median_frequency", "inverse_frequency"] = "none"
    """Classes rare in the training fold weigh more: median / own frequency (arXiv 2407.16384,
    eq. 14), or 1 / own frequency (eq. 13)."""
    losses: LossSettings = LossSettings()
    """Loss by kind of task."""
    targets: Literal["standardise", "minmax"] = "standardise"
    """Scale on which the loss sees values: mean 0 and standard deviation 1 of the training labels;
    or 0 to 1 from the task's range, else from the least and the largest training label."""
    target_percentile: float | None = Field(default=None, ge=50, lt=100)
    """Values above this percentile of the training labels count as it in the loss; with minmax it
    is the upper end. null: no limit."""
    augment: AugmentSettings = AugmentSettings()
    """Random changes of training patches."""
    pretrain: PretrainSettings = PretrainSettings()
    """Before the training, without labels: {epochs, masked, learning_rate}."""
    seed: int = Field(default=0, ge=0)
    """Fixes the weights at the start, the patches and their changes."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without a better validation score. null: run to the end."""
    dispensable: Share = 0.0
    """After the training look for bands that a scene may lack, all at once: the most whose absence
    lowers no validation score (accuracies, R²) by more than this, on half a million pixels at
    most. 0 = do not look."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between validations."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between checkpoints."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU if there is one."""
    devices: int = Field(default=1, ge=1)
    """GPUs, or processes on the CPU."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    """Arithmetic of the network: 32-true, bf16-mixed, 16-mixed or 64-true."""
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """Processes a device that read patches; 0 = a thread of the training process. auto: 0 on the
    CPU, else as many as there are cores to spare, at most 8. The batches do not depend on it."""
    cache_gib: float = Field(default=2.0, ge=0)
    """Scenes and their labels are kept in memory while they fit into this many GiB together; the
    others are read patch by patch."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.task_weights and self.balancing != "fixed":
            raise ValueError(f"task_weights belong to balancing: fixed, not {self.balancing}")
        if self.balancing == "gradnorm" and self.precision == "16-mixed":
            raise ValueError(
                "balancing: gradnorm compares gradients that underflow in 16-mixed; use bf16-mixed"
            )
        return self
