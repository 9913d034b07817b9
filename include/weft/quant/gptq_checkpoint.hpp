#pragma once

#include <weft/core/tensor.hpp>
#include <weft/quant/bit_stream.hpp>

#include <cmath>
#include <cstdint>

/// Linear layers in the checkpoint format of GPTQ tools (AutoGPTQ, GPTQModel), with K inputs, N
/// outputs, both multiples of 32, and b = 2, 3, 4 or 8 bits:
///
///   qweight  [K b / 32, N]       a stream of the codes of every output (bit_stream.hpp)
///   qzeros   [groups, N b / 32]  a stream of the zero points of every group
///   scales   [groups, N]         fp16 in most files; read them as floats
///   g_idx    [K]                 the group of every input; without it, input k is of group
///                                k / group_size
///
///   W[n, k] ~ scales[g, n] (code[k, n] - zero[g, n]),   g = g_idx[k]
///
/// Checkpoints of format "gptq" hold zero - 1, so their zeros are 1 to 2^b; those of "gptq_v2" hold
/// zero, 0 to 2^b - 1. (A zero of 0 makes official packers of the first spoil its neighbours, so it
/// is refused here.)
///
///   GptqMatrix w = unpack_gptq({.qweight = file.tensor<std::int32_t, 2>("qweight"), ...});
///   dequantize(w, weight.view().transpose(0, 1));             // weight [N, K]
namespace weft::quant {

/// What a checkpoint holds in place of a zero point.
enum class GptqZeros {
  minus_one,  ///< zero - 1: checkpoint_format "gptq"
  plain,      ///< zero: checkpoint_format "gptq_v2"
};

/// The tensors of one layer in a file.
struct GptqTensors {
  View<const std::int32_t, 2> qweight;
  View<const std::int32_t, 2> qzeros;
  View<const float, 2> scales;
  View<const std::int32_t, 1> g_idx;  ///< may be empty
  int bits = 4;
  Index group_size = 128;  ///< where there is no g_idx; below 1: one group
  GptqZeros stored = GptqZeros::minus_one;
};

/// The same unpacked.
struct GptqMatrix {
  int bits;
  Tensor<std::uint8_t, 2> codes;  ///< [K, N]
  Tensor<std::int32_t, 2> zeros;  ///< [groups, N]
  Tensor<float, 2> scales;        ///< [groups, N]
  Tensor<std::int32_t, 1> g_idx;  ///< [K]
};

/// What `pack_gptq` adds to scales and g_idx.
struct GptqWords {
  Tensor<std::int32_t, 2> qweight;
  Tensor<std::int32_t, 2> qzeros;
};

namespace detail {

inline void check_gptq_bits(int bits) {
  require(bits == 2 || bits == 3 || bits == 4 || bits == 8, "GPTQ checkpoint: codes of ", bits,
          " bits; the format has 2, 3, 4 and 8");
}

/// Inputs by the shape of qweight. The shapes of all tensors fit each other afterwards.
inline Index check_gptq(const GptqTensors& x) {
  check_gptq_bits(x.bits);
  const Index rows = x.qweight.extent(0), N = x.qweight.extent(1), groups = x.scales.extent(0);
  require(rows % x.bits == 0 && N % 32 == 0, "GPTQ checkpoint: qweight is ", x.qweight, " of ",
          x.bits, " bits; inputs and outputs must be multiples of 32");
  const Index K = rows / x.bits * 32;
  require(x.scales.extent(1) == N, "GPTQ checkpoint: scales are ", x.scales, " for ", N,
          " outputs");
  require(x.qzeros.extent(0) == groups && x.qzeros.extent(1) == N / 32 * x.bits,
          "GPTQ checkpoint: qzeros are ", x.qzeros, "; scales ", x.scales, " of ", x.bits,
          " bits ask for [", groups, ", ", N / 32 * x.bits, "]");
  if (!x.g_idx.empty()) {
    require(x.g_idx.extent(0) == K, "GPTQ checkpoint: g_idx has ", x.g_idx.extent(0),
            " entries for ", K, " inputs");
  } else {
    const Index size = x.group_size > 0 ? x.group_size : K;
    const Index wanted = K == 0 ? groups : (K + size - 1) / size;
    require(groups == wanted, "GPTQ checkpoint: ", groups, " groups of scales; ", K,
            " inputs in groups of ", size, " make ", wanted);
  }
  return K;
}

inline std::int32_t group_of(const GptqTensors& x, Index k) {
  if (x.g_idx.empty()) return static_cast<std::int32_t>(x.group_size > 0 ? k / x.group_size : 0);
  const std::int32_t g = x.g_idx(k);
  require(g >= 0 && g < x.scales.extent(0), "GPTQ checkpoint: g_idx[", k, "] is ", g,
          ", there are ", x.scales.extent(0), " groups");
  return g;
}

inline int stored_offset(GptqZeros stored) noexcept {
  return stored == GptqZeros::minus_one ? 1 : 0;
}

}  // namespace detail

/// Throws when shapes do not fit each other, g_idx names a group that is not there, or a scale is
/// not finite.
inline GptqMatrix unpack_gptq(const GptqTensors& x) {
  const Index K = detail::check_gptq(x), N = x.qweight.extent(1), groups = x.scales.extent(0);
  GptqMatrix out{x.bits, Tensor<std::uint8_t, 2>({K, N}), Tensor<std::int32_t, 2>({groups, N}),
                 Tensor<float, 2>({groups, N}), Tensor<std::int32_t, 1>({K})};
  for (Index k = 0; k < K; ++k) out.g_idx(k) = detail::group_of(x, k);
  unpack_bits(x.qweight, x.bits, out.codes.view());
  unpack_bits(x.qzeros.transpose(0, 1), x.bits, out.zeros.view().transpose(0, 1));
  for (std::int32_t& zero : out.zeros.span()) zero += detail::stored_offset(x.stored);
  for (Index g = 0; g < groups; ++g)
    for (Index n = 0; n < N; ++n) {
      require(std::isfinite(x.scales(g, n)), "GPTQ checkpoint: scales[", g, ", ", n, "] is ",
              x.scales(g, n));
      out.scales(g, n) = x.scales(g, n);
    }
  return out;
}

/// Throws when a code or zero point does not fit or K or N is no multiple of 32.
inline GptqWords pack_gptq(const GptqMatrix& w, GptqZeros stored = GptqZeros::minus_one) {
  detail::check_gptq_bits(w.bits);
  const Index K = w.codes.extent(0), N = w.codes.extent(1), groups = w.zeros.extent(0);
  require(K % 32 == 0 && N % 32 == 0, "GPTQ checkpoint: codes are ", w.codes.view(),
          "; inputs and outputs must be multiples of 32");
  require(w.zeros.extent(1) == N, "GPTQ checkpoint: zeros are ", w.zeros.view(), " for ", N,
          " outputs");
  const int offset = detail::stored_offset(stored);
  Tensor<std::int32_t, 2> fields({groups, N});
  for (Index i = 0; i < fields.size(); ++i) {
    const std::int32_t zero = w.zeros.data()[i];
    require(zero >= offset && zero < (1 << w.bits) + offset, "GPTQ checkpoint: the zero point ",
            zero, " of ", w.bits, " bits; this format holds ", offset, " to ",
            (1 << w.bits) - 1 + offset);
    fields.data()[i] = zero - offset;
  }
  GptqWords out{Tensor<std::int32_t, 2>({K / 32 * w.bits, N}),
                Tensor<std::int32_t, 2>({groups, N / 32 * w.bits})};
  pack_bits<std::uint8_t>(w.codes, w.bits, out.qweight);
  pack_bits<std::int32_t>(fields.view().transpose(0, 1), w.bits, out.qzeros.view().transpose(0, 1));
  return out;
}

/// The weights [K, N] that the codes stand for; pass W.transpose(0, 1) for W [N, K]. Throws when
/// the shapes differ.
inline void dequantize(const GptqMatrix& w, View<float, 2> to) {
  require(to.shape() == w.codes.shape(), "dequantize: out is ", to, ", the codes are ",
          w.codes.view());
  for (Index k = 0; k < to.extent(0); ++k) {
    const Index g = w.g_idx(k);
    for (Index n = 0; n < to.extent(1); ++n)
      to(k, n) = w.scales(g, n) * static_cast<float>(w.codes(k, n) - w.zeros(g, n));
  }
}

}  // namespace weft::quant
