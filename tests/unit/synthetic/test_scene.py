import numpy as np
from scipy.ndimage import binary_dilation

from hsimap.geometry import Window
from hsimap.synthetic import TASKS, flight_line, make_block, tasks
from hsimap.synthetic._optics import WAVELENGTH_NM
from hsimap.synthetic._scene import BLOCK_ROWS, BORDER_PX

NIR, RED = (int(abs(WAVELENGTH_NM - nm).argmin()) for nm in (860, 675))


def test_the_line_is_slanted_and_zero_outside(block):
    valid = block.stand_id > 0
    assert (block.image[~valid] == 0).all()
    assert (block.image[valid] >= 1).all()
    assert 0.85 < valid.mean() < 0.97
    left = valid.argmax(axis=1)
    assert abs(int(left[0]) - int(left[-1])) >= 4


def test_labels_are_constant_per_stand_and_kept_off_borders(block):
    labelled = block.classes[0] > 0
    assert ((block.classes > 0) == labelled).all()
    assert (np.isfinite(block.variables) == labelled).all()
    assert 0.4 < labelled.mean() < 0.75
    for stand in np.unique(block.stand_id[labelled]):
        mine = block.stand_id == stand
        assert np.ptp(block.variables[:, mine & labelled], axis=1).max() == 0
        assert np.ptp(block.classes[:, mine & labelled], axis=1).max() == 0
        others = (block.stand_id != stand) & (block.stand_id > 0)
        near = binary_dilation(others, np.ones((2 * BORDER_PX + 1,) * 2))
        assert not (near & mine & labelled).any()


def test_the_split_is_by_whole_stands(block):
    valid = block.stand_id > 0
    assert ((block.split > 0) == valid).all()
    folds = [
        set(np.unique(block.split[block.stand_id == k])) for k in np.unique(block.stand_id[valid])
    ]
    assert all(len(fold) == 1 for fold in folds)
    assert set.union(*folds) == {1, 2, 3}


def test_blocks_do_not_show_in_the_scene():
    """The labels and, but for its noise, the image are the same through any window."""
    line = flight_line(size=150, seed=2)
    assert [(w.row, w.height) for w in line.blocks()] == [(0, 128), (BLOCK_ROWS, 22)]
    whole = make_block(line, Window(row=0, col=0, height=150, width=150))
    part = make_block(line, Window(row=100, col=30, height=50, width=60))
    cut = (slice(100, 150), slice(30, 90))
    np.testing.assert_array_equal(whole.stand_id[cut], part.stand_id)
    np.testing.assert_array_equal(whole.variables[(slice(None), *cut)], part.variables)
    valid = part.stand_id > 0
    a, b = (
        image[..., RED : NIR + 1][valid].astype(float) for image in (whole.image[cut], part.image)
    )
    assert not (a == b).all()
    np.testing.assert_allclose(a.mean(axis=1), b.mean(axis=1), atol=60)
    np.testing.assert_allclose((a - b).mean(), 0, atol=1)


def test_reflectance_is_that_of_boreal_forest(block):
    """Airborne figures: near infrared 0.1 to 0.3, red 0.01 to 0.05, noise stronger at the ends."""
    pixels = block.image[block.stand_id > 0] * 1e-4
    mean = pixels.mean(axis=0)
    assert 0.10 < mean[NIR] < 0.30
    assert 0.008 < mean[RED] < 0.05
    assert pixels[:, NIR].std() > 0.04
    rough = np.abs(np.diff(pixels, n=2, axis=1)).mean(axis=0)
    assert rough[:3].mean() > 1.5 * rough[25:40].mean()


def test_seeds_give_different_forests(block):
    other = make_block(flight_line(size=192, seed=6), Window(row=0, col=0, height=64, width=192))
    assert not np.array_equal(other.stand_id, block.stand_id[:64])


def test_many_stems_make_a_fine_texture(block):
    """Structure is in texture: neighbours differ more, for their stand, where crowns are small."""
    bright = np.log(block.image[..., NIR].astype(float) + 1)
    labelled = block.classes[0] > 0
    fine, stems = [], []
    for stand in np.unique(block.stand_id[labelled]):
        mine = labelled & (block.stand_id == stand)
        if mine.sum() < 250:
            continue
        pairs = mine[:, 1:] & mine[:, :-1]
        steps = (bright[:, 1:] - bright[:, :-1])[pairs]
        fine.append((steps**2).mean() / 2 / bright[mine].var())
        stems.append(block.variables[2][mine][0])
    assert len(stems) > 10
    assert np.corrcoef(fine, np.log(stems))[0, 1] > 0.4


def test_tasks_are_thirteen_with_distinct_codes():
    every = tasks()
    assert [task.name for task in every] == list(TASKS)
    assert sum(bool(task.classes) for task in every) == 3
    assert all(0 not in task.codes for task in every)
