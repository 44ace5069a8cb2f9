"""Pairs of embeddings above a cosine, held against comparing everything in float64."""

import numpy as np
import pytest

from stages.dedup.semantic import pairs_above


def planted(n: int, dim: int = 64, seed: int = 0) -> np.ndarray:
    """Unit float16 vectors, a quarter of them near another."""
    rng = np.random.default_rng(seed)
    out = rng.standard_normal((n, dim))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    copies = rng.choice(n, n // 4, replace=False)
    out[copies] = out[rng.integers(0, n, len(copies))] + rng.standard_normal((len(copies), dim)) * 0.03
    return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float16)


def brute_force(vectors: np.ndarray, threshold: float) -> dict[tuple[int, int], float]:
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    cosine = wide @ wide.T
    return {(int(i), int(j)): cosine[i, j] for i, j in zip(*np.nonzero(cosine >= threshold), strict=True) if i < j}


def found(vectors: np.ndarray, threshold: float, **how: int) -> dict[tuple[int, int], float]:
    out: dict[tuple[int, int], float] = {}
    for i, j, cosine in pairs_above(vectors, threshold, **how):
        assert (i != j).all()
        for a, b, c in zip(i.tolist(), j.tolist(), cosine.tolist(), strict=True):
            assert out.setdefault((min(a, b), max(a, b)), c) == c
    return out


@pytest.mark.parametrize("threshold", [-0.2, 0.3, 0.96])
def test_up_to_the_limit_every_pair_is_found(threshold: float) -> None:
    vectors = planted(700)
    truth = brute_force(vectors, threshold)
    got = found(vectors, threshold)
    assert got.keys() == truth.keys()
    assert all(got[k] == pytest.approx(truth[k], abs=1e-12) for k in truth)
    assert len(truth) > 100


def test_vectors_need_not_be_of_unit_length() -> None:
    vectors = (planted(300).astype(np.float32) * np.linspace(0.5, 3, 300)[:, None]).astype(np.float16)
    assert found(vectors, 0.9).keys() == brute_force(vectors, 0.9).keys()


def test_beyond_it_lists_find_nearly_all_and_nothing_else() -> None:
    vectors = planted(4000)
    truth, got = brute_force(vectors, 0.96), found(vectors, 0.96, flat=0)
    assert got.keys() <= truth.keys()
    assert len(got) >= 0.99 * len(truth)


def test_the_answer_does_not_depend_on_threads_or_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    import stages.dedup.semantic as module

    vectors = planted(2000)
    before = faiss.omp_get_max_threads()
    answers = []
    try:
        for threads, results in ((1, 2_000_000), (4, 2_000_000), (2, 64)):
            faiss.omp_set_num_threads(threads)
            monkeypatch.setattr(module, "_RESULTS", results)
            answers += [found(vectors, 0.9), found(vectors, 0.9, flat=0)]
    finally:
        faiss.omp_set_num_threads(before)
    assert answers[0] == answers[2] == answers[4]
    assert answers[1] == answers[3] == answers[5]


def test_one_vector_has_no_pair() -> None:
    assert found(planted(1), 0.9) == {}
    assert found(planted(0), 0.9) == {}
    assert found(planted(1), 0.9, flat=0) == {}
