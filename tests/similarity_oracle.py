"""The specification of similarity and its statistics: textbook definitions, one pair at a time, float64.

Shares no code with fastrnn. Responses are `x (m, n)`: m samples of n units.
"""

import numpy as np


def centred(x):
    x = np.asarray(x, np.float64)
    return x - x.mean(axis=0)


def truncated(x, components):
    """Scores (m, k) of the response's first principal components: a share of the variance, or a number of them."""
    u, s, _ = np.linalg.svd(centred(x), full_matrices=False)
    rank = int((s > s[0] * 1e-10).sum())
    if isinstance(components, int):
        k = min(components, rank)
    else:
        k, kept = 0, 0.0
        while k < rank and kept < components * (s**2).sum() * (1 - 1e-12):
            kept += s[k] ** 2
            k += 1
    return u[:, :k] * s[:k]


def inverse_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(values**-0.5) @ vectors.T


def canonical_correlations(x, y):
    """Hotelling 1936: singular values of Sxx^-1/2 Sxy Syy^-1/2."""
    x, y = centred(x), centred(y)
    return np.linalg.svd(inverse_root(x.T @ x) @ (x.T @ y) @ inverse_root(y.T @ y), compute_uv=False)


def svcca_distance(x, y, components=0.95, coefficients="smaller"):
    """Raghu et al. 2017."""
    x, y = truncated(x, components), truncated(y, components)
    count = min if coefficients == "smaller" else max
    return 1 - canonical_correlations(x, y).sum() / count(x.shape[1], y.shape[1])


def pwcca_one_way(x, y, components):
    """Morcos et al. 2018: correlations weighted by how much of x each canonical variate accounts for."""
    scores_x, scores_y = truncated(x, components), truncated(y, components)
    whiten_x = inverse_root(scores_x.T @ scores_x)
    whiten_y = inverse_root(scores_y.T @ scores_y)
    u, correlations, _ = np.linalg.svd(whiten_x @ scores_x.T @ scores_y @ whiten_y)
    weighted = total = 0.0
    for i, correlation in enumerate(correlations):
        variate = scores_x @ whiten_x @ u[:, i]
        weight = sum(abs(variate @ unit) for unit in centred(x).T)
        weighted += weight * correlation
        total += weight
    return weighted / total


def pwcca_distance(x, y, components=0.95):
    return 1 - (pwcca_one_way(x, y, components) + pwcca_one_way(y, x, components)) / 2


def cka_distance(x, y):
    """Kornblith et al. 2019, from sample Gram matrices centred by H."""
    m = len(x)
    h = np.eye(m) - np.ones((m, m)) / m
    k_x, k_y = (h @ (a @ a.T) @ h for a in (np.asarray(x, np.float64), np.asarray(y, np.float64)))
    return 1 - np.sum(k_x * k_y) / np.sqrt(np.sum(k_x * k_x) * np.sum(k_y * k_y))


def unbiased_hsic(k, j):
    """Song et al. 2012, equation 5."""
    m = len(k)
    k, j, ones = k - np.diag(np.diag(k)), j - np.diag(np.diag(j)), np.ones(m)
    middle = (ones @ k @ ones) * (ones @ j @ ones) / ((m - 1) * (m - 2))
    return (np.trace(k @ j) + middle - 2 / (m - 2) * (ones @ k @ j @ ones)) / (m * (m - 3))


def debiased_cka_distance(x, y):
    k_x, k_y = (a @ a.T for a in (np.asarray(x, np.float64), np.asarray(y, np.float64)))
    return 1 - unbiased_hsic(k_x, k_y) / np.sqrt(unbiased_hsic(k_x, k_x) * unbiased_hsic(k_y, k_y))


def procrustes_distance(x, y):
    """Williams et al. 2021: angle between centred, scaled responses after the best rotation of one of them."""
    x, y = centred(x), centred(y)
    n = max(x.shape[1], y.shape[1])
    x, y = (np.pad(a, ((0, 0), (0, n - a.shape[1]))) for a in (x / np.linalg.norm(x), y / np.linalg.norm(y)))
    u, _, vt = np.linalg.svd(y.T @ x)
    return np.arccos(min(1.0, np.sum(x * (y @ (u @ vt)))))


def stress(distances, points):
    """Kruskal's stress-1."""
    top = bottom = 0.0
    for i in range(len(points)):
        for j in range(i):
            gap = np.linalg.norm(points[i] - points[j])
            top += (gap - distances[i, j]) ** 2
            bottom += gap**2
    return np.sqrt(top / bottom)


def one_way_share(distances, labels):
    """Anderson 2001: sums of squared distances over pairs, between groups over total; with pseudo-F."""
    N, levels = len(labels), sorted(set(labels))
    total = sum(distances[i, j] ** 2 for i in range(N) for j in range(i)) / N
    within = 0.0
    for level in levels:
        members = [i for i in range(N) if labels[i] == level]
        within += sum(distances[i, j] ** 2 for i in members for j in members if j < i) / len(members)
    between = total - within
    return between / total, (between / (len(levels) - 1)) / (within / (N - len(levels)))


def dummies(*factors):
    """Design matrix: intercept, and one column for each level of each factor but its first."""
    columns = [np.ones(len(factors[0]))]
    for labels in factors:
        columns += [np.array([float(label == level) for label in labels]) for level in sorted(set(labels))[1:]]
    return np.array(columns).T


def explained(distances, design):
    """McArdle and Anderson 2001: tr(H G), G the centred matrix of -d^2 / 2."""
    N = len(distances)
    c = np.eye(N) - np.ones((N, N)) / N
    g = c @ (-(distances**2) / 2) @ c
    return np.trace(design @ np.linalg.pinv(design) @ g), np.trace(g)


def marginal_share(distances, labels, others):
    """What a factor adds to the others, over the total; with pseudo-F."""
    full_design = dummies(labels, *others)
    full, total = explained(distances, full_design)
    reduced, _ = explained(distances, dummies(*others) if others else np.ones((len(labels), 1)))
    df, residual_df = len(set(labels)) - 1, len(labels) - np.linalg.matrix_rank(full_design)
    return (full - reduced) / total, ((full - reduced) / df) / ((total - full) / residual_df)


def centroid_distances(points, labels):
    """Distance of each point to the mean of its group (Anderson 2006)."""
    return np.array(
        [
            np.linalg.norm(p - np.mean([q for q, b in zip(points, labels, strict=True) if b == a], axis=0))
            for p, a in zip(points, labels, strict=True)
        ]
    )


def neighbour_accuracy(distances, labels):
    """Share of networks whose nearest other network has their label; ties count by share."""
    right = 0.0
    for i in range(len(labels)):
        others = [j for j in range(len(labels)) if j != i]
        nearest = min(distances[i, j] for j in others)
        tied = [j for j in others if distances[i, j] == nearest]
        right += sum(labels[j] == labels[i] for j in tied) / len(tied)
    return right / len(labels)


def within_and_between(distances, labels):
    """Mean distance over pairs of one label, and over pairs of two."""
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    within = [distances[i, j] for i, j in pairs if labels[i] == labels[j]]
    between = [distances[i, j] for i, j in pairs if labels[i] != labels[j]]
    return np.mean(within), np.mean(between)


def linear_map(trajectories, delays, rank):
    """Ostrow et al. 2023: least squares between delay vectors' coordinates and the next ones', (rank, rank)."""
    trials, T, n = trajectories.shape
    windows = T - delays + 1
    hankel = np.zeros((trials, windows, delays * n))
    for b in range(trials):
        for t in range(windows):
            hankel[b, t] = trajectories[b, t : t + delays].ravel()
    u, _, _ = np.linalg.svd(hankel.reshape(-1, delays * n), full_matrices=False)
    coordinates = u[:, :rank].reshape(trials, windows, rank)
    before, after = np.zeros((0, rank)), np.zeros((0, rank))
    for b in range(trials):
        before = np.vstack([before, coordinates[b, :-1]])
        after = np.vstack([after, coordinates[b, 1:]])
    return np.linalg.lstsq(before, after, rcond=None)[0].T


def least_angle(a, b, starts=30, seed=0):
    """The least angle between a and C b C^T over orthogonal C, by a general optimiser from many starts."""
    from scipy.linalg import expm
    from scipy.optimize import minimize

    r, rng = len(a), np.random.default_rng(seed)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    above = np.triu_indices(r, 1)

    def turned(numbers, start):
        skew = np.zeros((r, r))
        skew[above] = numbers
        c = expm(skew - skew.T) @ start
        return -np.sum(a * (c @ b @ c.T))

    best = np.inf
    for _ in range(starts):
        start = np.linalg.qr(rng.normal(size=(r, r)))[0]
        best = min(best, minimize(turned, np.zeros(len(above[0])), (start,), "L-BFGS-B").fun)
    return np.arccos(min(-best, 1.0))
