#pragma once

#include <weft/core/gemm.hpp>
#include <weft/core/reduce.hpp>

#include <cmath>
#include <limits>

/// Similarity of vectors x [N, D] to all K codes of a codebook [K, D]; the larger, the closer:
///
///   euclidean   <x, c> - |c|^2 / 2         that is (|x|^2 - |x - c|^2) / 2, without |x|
///   inner       <x, c> / |c|               the order of the cosine; a code of length 0 is excluded
///
/// One matrix product for a block of vectors, and a pass over their scores. Time O(N K D), near the
/// speed of `gemm`; scratch 1 MB of scores, or those of 128 vectors, and what `gemm` needs.
namespace weft::quant {

enum class Similarity { euclidean, inner };

namespace detail {

inline constexpr Index kMaxCodes = Index{1} << 30;

/// A code and its score.
template <class T>
struct ScoredCode {
  T score;
  Index code;
};

/// The codes of a codebook, packed for scoring.
template <class T, class A = DefaultArch>
class CodeScores {
 public:
  CodeScores(View<const T, 2> codes, Similarity similarity) : offset_({codes.extent(0)}) {
    const Index K = codes.extent(0), D = codes.extent(1);
    require(K >= 1 && K <= kMaxCodes && D >= 1, "a codebook of shape ", codes,
            "; wanted [K, D] with 1 to 2^30 codes of one channel at least");
    Tensor<T, 2> scaled({K, D});
    usable_ = K;
    for (Index j = 0; j < K; ++j) {
      double square = 0;
      for (Index d = 0; d < D; ++d)
        square += static_cast<double>(codes(j, d)) * static_cast<double>(codes(j, d));
      require(std::isfinite(square), "code ", j, " of the codebook is not finite");
      const bool inner = similarity == Similarity::inner;
      const double factor = !inner ? 1 : square == 0 ? 0 : 1 / std::sqrt(square);
      for (Index d = 0; d < D; ++d)
        scaled(j, d) = static_cast<T>(static_cast<double>(codes(j, d)) * factor);
      offset_(j) = inner ? T(0) : static_cast<T>(-square / 2);
      if (factor != 0) continue;
      offset_(j) = -std::numeric_limits<T>::infinity();
      --usable_;
    }
    packed_ = PackedMatrix<T, A>(scaled.view().transpose(0, 1));
  }

  Index size() const noexcept { return packed_.cols(); }
  Index dim() const noexcept { return packed_.depth(); }
  Index usable() const noexcept { return usable_; }  ///< codes that are not excluded

  /// out [N, K] = <x, c>, or divided by |c| for the inner similarity.
  void products(const View<const T, 2>& x, const View<T, 2>& out, const Context& ctx) const {
    const Arena::Frame frame(ctx.arena());
    T* zeros = ctx.arena().template take<T>(size());
    std::fill_n(zeros, size(), T(0));  // with an epilogue for_each_row has compiled already
    gemm(x, packed_, out, Bias<T>{{zeros, {size()}}}, ctx);
  }

  /// Calls f(row, scores, padded) for every row of x [N, D], concurrently: `padded` scores, a
  /// multiple of the register, with -infinity behind those of the codes.
  template <class F>
  void for_each_row(const View<const T, 2>& x, const Context& ctx, F f) const {
    require(x.extent(1) == dim(), "x is ", x, ", the codes have ", dim(), " channels");
    const Index padded = round_up(size(), kWidth<T, A>);
    const Index at_once = std::max<Index>(kLeastRows, kScores / padded);
    const Index rows = std::min(at_once, x.extent(0));
    const Arena::Frame frame(ctx.arena());
    T* scores = ctx.arena().template take<T>(rows * padded);
    for (Index r = 0; r < rows; ++r)
      std::fill(scores + r * padded + size(), scores + (r + 1) * padded,
                -std::numeric_limits<T>::infinity());
    for (Index begin = 0; begin < x.extent(0); begin += at_once) {
      const Index count = std::min(at_once, x.extent(0) - begin);
      const View<T, 2> block(scores, {count, size()}, {padded, 1});
      gemm(x.slice(0, begin, count), packed_, block, Bias<T>{offset_.view()}, ctx);
      ctx.parallel(ceil_div(count, kRowsOfTask), [&](Index task, Arena&) {
        const Index end = std::min((task + 1) * kRowsOfTask, count);
        for (Index r = task * kRowsOfTask; r < end; ++r) f(begin + r, scores + r * padded, padded);
      });
    }
  }

 private:
  static constexpr Index kScores = Index{1} << (sizeof(T) == 4 ? 18 : 17);  // 1 MB
  static constexpr Index kLeastRows = 128;  // below, the product waits for the codes
  static constexpr Index kRowsOfTask = 16;

  PackedMatrix<T, A> packed_;
  Tensor<T, 1> offset_;
  Index usable_ = 0;
};

/// The best of n scores, the first of equal ones. -infinity and code 0 where no score is a number
/// above -infinity. n is a multiple of the register. One pass for the largest and a second one up
/// to its place wait less for each other than one that keeps both.
template <class A, class T>
ScoredCode<T> best_code(const T* scores, Index n) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  const V lowest(-std::numeric_limits<T>::infinity());
  V a = lowest, b = lowest, c = lowest, d = lowest;
  Index j = 0;
  for (; j + 4 * W <= n; j += 4 * W) {  // the maximum of x86 drops a NaN of its first operand
    a = xsimd::max(load<A>(scores + j), a);
    b = xsimd::max(load<A>(scores + j + W), b);
    c = xsimd::max(load<A>(scores + j + 2 * W), c);
    d = xsimd::max(load<A>(scores + j + 3 * W), d);
  }
  for (; j < n; j += W) a = xsimd::max(load<A>(scores + j), a);
  const T best = weft::detail::max_lanes(xsimd::max(xsimd::max(a, b), xsimd::max(c, d)));
  if (!(best > -std::numeric_limits<T>::infinity())) return {best, 0};
  Index code = 0;
  while (!xsimd::any(load<A>(scores + code) == V(best))) code += W;
  while (scores[code] != best) ++code;
  return {best, code};
}

/// The k best of n scores in falling order, the first of equal ones first. Returns how many there
/// are: fewer than k where scores are NaN or -infinity. n is a multiple of the register.
template <class A, class T>
Index best_codes(const T* scores, Index n, Index k, ScoredCode<T>* best) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  Index count = 0;
  T least = -std::numeric_limits<T>::infinity();  // what a score must exceed
  for (Index j = 0; j < n; j += W) {
    if (!xsimd::any(load<A>(scores + j) > V(least))) continue;
    for (Index code = j; code < j + W; ++code) {
      const T score = scores[code];
      if (!(score > least)) continue;
      Index at = count < k ? count++ : k - 1;
      for (; at > 0 && best[at - 1].score < score; --at) best[at] = best[at - 1];
      best[at] = {score, code};
      if (count == k) least = best[k - 1].score;
    }
  }
  return count;
}

}  // namespace detail
}  // namespace weft::quant
