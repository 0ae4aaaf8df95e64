#!/usr/bin/env python3
"""Golden vectors of retention, made in float64 by the recurrence of the RetNet paper (arXiv 2307.08621, Eq. 6) and by its
adjoint, token by token:

    S_n = gamma S_{n-1} + k_n^T v_n,   o_n = q_n S_n,   gamma_h = 1 - 2^(-5-h)
    G_n = gamma G_{n+1} + q_n^T do_n,  dq_n = S_n do_n,  dk_n = G_n v_n,  dv_n = k_n G_n

Inputs are sines, so that a test in any language makes the same ones.
Regenerate with:  python3 retention.py > retention.h
"""
import math

T, H, K, V = 11, 2, 4, 3


def wave(count, frequency, phase):
    return [math.sin(frequency * i + phase) for i in range(count)]


def heads(x, width):
    """x[t][h] from [T,H,width]."""
    return [[x[(t * H + h) * width:(t * H + h + 1) * width] for h in range(H)] for t in range(T)]


def states(x):
    """x[h][i][j] from [H,K,V]."""
    return [[x[(h * K + i) * V:(h * K + i + 1) * V] for i in range(K)] for h in range(H)]


def main():
    q, k = heads(wave(T * H * K, 0.7, 0.1), K), heads(wave(T * H * K, 1.3, 0.5), K)
    v, do = heads(wave(T * H * V, 0.9, -0.3), V), heads(wave(T * H * V, 1.1, 0.7), V)
    s, g = states(wave(H * K * V, 0.5, 0.2)), states(wave(H * K * V, 1.7, -0.1))
    out = {name: [[None] * H for _ in range(T)] for name in ("O", "Dq", "Dk", "Dv")}
    ks, vs = range(K), range(V)
    for h in range(H):
        gamma, after = 1 - 2.0 ** (-5 - h), []
        for t in range(T):
            s[h] = [[gamma * s[h][i][j] + k[t][h][i] * v[t][h][j] for j in vs] for i in ks]
            after.append(s[h])
            out["O"][t][h] = [math.fsum(q[t][h][i] * s[h][i][j] for i in ks) for j in vs]
        for t in reversed(range(T)):
            g[h] = [[g[h][i][j] + q[t][h][i] * do[t][h][j] for j in vs] for i in ks]
            out["Dq"][t][h] = [math.fsum(after[t][i][j] * do[t][h][j] for j in vs) for i in ks]
            out["Dk"][t][h] = [math.fsum(g[h][i][j] * v[t][h][j] for j in vs) for i in ks]
            out["Dv"][t][h] = [math.fsum(k[t][h][i] * g[h][i][j] for i in ks) for j in vs]
            g[h] = [[gamma * g[h][i][j] for j in vs] for i in ks]
    flat = {name: [e for token in x for head in token for e in head] for name, x in out.items()}
    flat["StateOut"] = [e for head in s for row in head for e in row]
    flat["DstateIn"] = [e for head in g for row in head for e in row]

    print("// Made by retention.py beside this file, which says how.\n// clang-format off\n#pragma once\n")
    print("namespace retain::test::golden {\n")
    print(f"inline constexpr int kTokens = {T}, kHeads = {H}, kKeyDim = {K}, kValueDim = {V};")
    for name, values in flat.items():
        print(f"inline constexpr double k{name}[] = {{")
        for i in range(0, len(values), 5):
            print("    " + ", ".join(repr(e) for e in values[i:i + 5]) + ",")
        print("};")
    print("\n}  // namespace retain::test::golden")


if __name__ == "__main__":
    main()
