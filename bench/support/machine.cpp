#include "machine.hpp"

#include <weft/core/simd.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <utility>

#if (defined(__AMX_BF16__) || defined(__AMXBF16__)) && \
    (defined(__AMX_INT8__) || defined(__AMXINT8__)) && defined(__linux__)  // gcc, clang 14
#define WEFT_BENCH_TILES 1
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(WEFT_BENCH_TILES) || defined(__AVX512BF16__) || defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

namespace bench {
namespace {

using weft::Index;

/// Operands that the compiler cannot know, in a register class of its choice.
template <class T>
T hidden(T value) {
  asm volatile("" : "+m"(value));
  return value;
}

/// Makes the compiler compute `value`.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "m"(value) : "memory");
}

/// Independent chains of dependent instructions: they cover latency times units, 4 x 2 for FMA, and
/// with two operands they fit 16 registers.
constexpr std::size_t kChains = 12;
constexpr Index kSteps = 200000;  // half a millisecond

/// `steps` times sum = step(sum) in every chain. Expanding the pack makes each chain a variable of
/// its own, which compilers keep in a register; different starts keep them from sharing one.
template <class V, class Step, std::size_t... Chain>
void run_chains(Index steps, Step step, std::index_sequence<Chain...>) {
  using T = typename V::value_type;
  std::array<V, sizeof...(Chain)> sums{V(static_cast<T>(Chain))...};
  for (Index i = 0; i < steps; ++i) ((sums[Chain] = step(sums[Chain])), ...);
  keep(sums);
}

template <class V, class Step>
void run_chains(Index steps, Step step) {
  run_chains<V>(steps, step, std::make_index_sequence<kChains>());
}

/// Reads `count` floats, a multiple of Streams x Vectors registers, from `Streams` equal parts side
/// by side.
template <std::size_t Streams, std::size_t Vectors, std::size_t... I>
void read_streams(const float* data, Index count, std::index_sequence<I...>) {
  using V = weft::Vec<float>;
  constexpr Index lanes = weft::kWidth<float>;
  constexpr Index block = lanes * static_cast<Index>(Vectors);
  const Index part = count / static_cast<Index>(Streams);
  std::array<V, sizeof...(I)> sums{((void)I, V(0.f))...};
  for (Index at = 0; at + block <= part; at += block)
    ((sums[I] += V::load_unaligned(data + static_cast<Index>(I / Vectors) * part + at +
                                   static_cast<Index>(I % Vectors) * lanes)),
     ...);
  keep(sums);
}

template <std::size_t Streams, std::size_t Vectors>
Burst read_burst_of(std::span<const float> buffer) {
  const auto run = [buffer](Index part, Index parts) {
    const Index share = static_cast<Index>(buffer.size()) / parts;
    read_streams<Streams, Vectors>(buffer.data() + part * share, share,
                                   std::make_index_sequence<Streams * Vectors>());
  };
  return {static_cast<double>(buffer.size_bytes()), run};
}

#if defined(WEFT_BENCH_TILES)

/// Linux saves tile registers only for processes that asked for them.
bool tiles_granted() {
  constexpr int request_component = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_component, tile_data) == 0;
}

/// All eight tiles as 16 rows of 64 bytes.
struct alignas(64) TileShapes {
  unsigned char palette = 1;
  unsigned char start_row = 0;
  unsigned char reserved[14] = {};
  unsigned short row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// Four accumulators from two left and two right tiles, as a register tile of 32 x 32 has it.
template <bool Bytes>
void multiply_tiles(Index steps) {
  const TileShapes shapes;
  keep(shapes);  // g++ 12 takes the intrinsic to read eight bytes only, and drops the other stores
  _tile_loadconfig(&shapes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (Index i = 0; i < steps; ++i) {
    if constexpr (Bytes) {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 7);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    } else {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_release();
}

#endif

}  // namespace

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

template <class T>
Burst fma_burst() {
  using V = weft::Vec<T>;
  const V factor(hidden(T(0.999))), term(hidden(T(0.001)));
  const auto step = [factor, term](V sum) { return weft::mul_add(sum, factor, term); };
  return {2.0 * static_cast<double>(V::size * kChains * kSteps),
          [step](Index, Index parts) { run_chains<V>(kSteps / parts, step); }};
}
template Burst fma_burst<float>();
template Burst fma_burst<double>();

Burst dot_bf16_burst() {
#if defined(__AVX512BF16__)
  const auto one = (__m512bh)_mm512_set1_epi16(hidden(short{0x3f80}));
  const auto step = [one](__m512 sum) { return _mm512_dpbf16_ps(sum, one, one); };
  return {64.0 * static_cast<double>(kChains * kSteps),
          [step](Index, Index parts) { run_chains<weft::Vec<float>>(kSteps / parts, step); }};
#else
  return fma_burst<float>();
#endif
}

Burst tile_bf16_burst() {
#if defined(WEFT_BENCH_TILES)
  static const bool granted = tiles_granted();
  if (!granted) return {};
  constexpr Index steps = kSteps / 8;
  return {4 * (2.0 * 16 * 16 * 32) * static_cast<double>(steps),
          [](Index, Index parts) { multiply_tiles<false>(steps / parts); }};
#else
  return {};
#endif
}

Burst dot_int8_burst() {
#if defined(__AVX512VNNI__)
  const __m512i one = _mm512_set1_epi32(hidden(0x01010101));
  const auto step = [one](const weft::Vec<std::int32_t>& sum) -> weft::Vec<std::int32_t> {
    return _mm512_dpbusd_epi32(sum, one, one);
  };
  return {128.0 * static_cast<double>(kChains * kSteps), [step](Index, Index parts) {
            run_chains<weft::Vec<std::int32_t>>(kSteps / parts, step);
          }};
#else
  return fma_burst<float>();
#endif
}

Burst tile_int8_burst() {
#if defined(WEFT_BENCH_TILES)
  static const bool granted = tiles_granted();
  if (!granted) return {};
  constexpr Index steps = kSteps / 8;
  return {4 * (2.0 * 16 * 16 * 64) * static_cast<double>(steps),
          [](Index, Index parts) { multiply_tiles<true>(steps / parts); }};
#else
  return {};
#endif
}

Burst read_burst(std::span<const float> buffer, int streams) {
  return streams == 1 ? read_burst_of<1, 8>(buffer) : read_burst_of<8, 2>(buffer);
}

double best_rate(const Burst& burst, const weft::Context& context) {
  if (burst.work == 0) return 0;
  const Index parts = context.workers();
  const double begin = now();
  double best = 0, end = begin;
  for (int attempt = 0; attempt < 4 && end - begin < 0.02; ++attempt) {
    const double start = end;
    int calls = 0;
    do {  // a small buffer is read in less time than clocks resolve well
      context.parallel(parts, [&](Index part, weft::Arena&) { burst.run(part, parts); });
      ++calls;
      end = now();
    } while (end - start < 0.0005);
    best = std::max(best, burst.work * calls / (end - start));
  }
  return best;
}

}  // namespace bench
