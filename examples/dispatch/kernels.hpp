#pragma once

#include <weft/core/tensor.hpp>

/// What runs at the speed of the processor: causal attention, q [B, Hq, N, D], k and v [B, Hk, M,
/// D]. kernels.cpp defines it once per instruction set `Isa`.
template <class Isa>
void attend(weft::View<const float, 4> q, weft::View<const float, 4> k,
            weft::View<const float, 4> v, weft::View<float, 4> out);
