"""Arrays on the host or on a device, by the array API standard; what is NumPy's stays NumPy's.

A network on a GPU leaves its results there: they are blended and turned into what is stored there
too, and only finished bytes come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, device, to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = Any
"""A NumPy array, or one of a library that follows the array API standard, as torch."""


def namespace(array: Array) -> Any:  # noqa: ANN401  # a module of functions
    """Return the functions of the array's library, by the array API standard.

    NumPy follows it by itself since 2.0; its stand-in takes 0.15 s to load.
    """
    return np if isinstance(array, np.ndarray) else array_namespace(array)


def there(array: Array, like: Array) -> Array:
    """Bring a host array to where another is; one that is there already is returned as it is."""
    if not isinstance(array, np.ndarray) or isinstance(like, np.ndarray):
        return array
    return namespace(like).asarray(array, device=device(like))


def here(array: Array) -> NDArray[Any]:
    """Bring an array to the host, as one of NumPy's."""
    return array if isinstance(array, np.ndarray) else np.asarray(to_device(array, "cpu"))


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Return an array of zeros, float32, where another is."""
    xp = namespace(like)
    return xp.zeros(shape, dtype=xp.float32, device=device(like))


def copy(array: Array) -> Array:
    """Return a copy in the same place."""
    return namespace(array).asarray(array, copy=True)
