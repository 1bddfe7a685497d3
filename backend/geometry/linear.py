"""Sparse linear systems: graph Laplacians, and their solution by conjugate gradients."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg


def laplacian_of(adjacency: sparse.csr_matrix) -> sparse.csr_matrix:
    """The Laplacian [n, n] of a graph with symmetric weights ``adjacency`` [n, n]."""
    return sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency


def conjugate_gradients(
    system: sparse.csr_matrix,
    right: np.ndarray,
    tolerance: float,
    iterations: int,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """The solution [n] of a symmetric positive definite ``system`` [n, n], preconditioned by its diagonal.

    Args:
        system, right: [n, n] and [n].
        tolerance: of the residual, over ``right``.
        iterations: at most.
        start: [n] a guess; zeros without one.
    """
    scale = sparse.diags(1 / system.diagonal())
    return cg(system, right, x0=start, rtol=tolerance, maxiter=iterations, M=scale)[0]
