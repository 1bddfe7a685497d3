"""Sparse linear systems: graph Laplacians, and their solution by conjugate gradients."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg


def laplacian_of(adjacency: sparse.csr_matrix) -> sparse.csr_matrix:
    """The Laplacian [n, n] of a graph with symmetric weights ``adjacency`` [n, n]."""
    return sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency


def mesh_laplacian(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    """The Laplacian [count, count] of the edges of a mesh of ``faces``, int [F, 3]; each counts 1."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends = np.concatenate([edges, edges[:, ::-1]])
    adjacency = sparse.coo_matrix((np.ones(len(ends)), tuple(ends.T)), (count, count)).tocsr()
    adjacency.data[:] = 1
    return laplacian_of(adjacency)


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
