#pragma once

#include <weft/quant/k_means.hpp>

#include <limits>

/// Product quantization (Jegou et al., "Product Quantization for Nearest Neighbor Search", IEEE
/// TPAMI 2011): a vector of D = m d channels is m parts, each with a codebook of its own.
///
///   codebooks [m, K, d],  code_i = argmin_j |x_i - C_i[j]|,  x ~ C_1[code_1] ... C_m[code_m]
///
/// Scores of a query against coded vectors need no decoding: a table of the query holds, for each
/// part, its product with every code (or the squared distance), and a score is m look-ups:
///
///   table[i, j] = <q_i, C_i[j]>,  score_n = sum_i table[i, code_n,i]         = <q, decode(code_n)>
///
/// Codes are std::uint8_t (K <= 256), std::uint16_t or std::int32_t. With m = 1 it is vector
/// quantization. T is float or double.
///
/// Time: encode O(N K D), a table O(K D), scores O(N m). Throws where shapes do not fit, K codes do
/// not fit in the type of the codes, codes exceed K (decode), or numbers are not finite (encode).
namespace weft::quant {

/// What a table holds.
enum class TableOf { products, squared_distances };

template <class T = float, class A = DefaultArch>
class ProductQuantizer {
 public:
  /// codebooks [m, K, d], copied.
  explicit ProductQuantizer(View<const T, 3> codebooks)
      : size_(codebooks.extent(1)), part_dim_(codebooks.extent(2)) {
    require(codebooks.extent(0) >= 1, "ProductQuantizer: codebooks are ", codebooks,
            ", wanted [m, K, d] with one part at least");
    for (Index i = 0; i < codebooks.extent(0); ++i) parts_.emplace_back(codebooks.select(0, i));
  }

  Index parts() const noexcept { return static_cast<Index>(parts_.size()); }
  Index size() const noexcept { return size_; }  ///< K
  Index dim() const noexcept { return parts() * part_dim_; }
  const VectorQuantizer<T, A>& part(Index i) const { return parts_[static_cast<std::size_t>(i)]; }

  /// codes [N, m] of x [N, D].
  template <class Code>
  void encode(View<const T, 2> x, View<Code, 2> codes, const Context& ctx = Context{}) const {
    check(x, codes);
    const Arena::Frame frame(ctx.arena());
    const View<std::int32_t, 1> ids(ctx.arena().template take<std::int32_t>(x.extent(0)),
                                    {x.extent(0)});
    for (Index i = 0; i < parts(); ++i) {
      part(i).encode(x.slice(1, i * part_dim_, part_dim_), ids, ctx);
      for (Index n = 0; n < x.extent(0); ++n) codes(n, i) = static_cast<Code>(ids(n));
    }
  }

  /// x [N, D] of codes [N, m].
  template <class Code>
  void decode(View<const Code, 2> codes, View<T, 2> x) const {
    check(x, codes);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(x.extent(0)));
    for (Index i = 0; i < parts(); ++i) {
      for (Index n = 0; n < x.extent(0); ++n)
        ids[static_cast<std::size_t>(n)] = static_cast<std::int32_t>(codes(n, i));
      part(i).decode(view_of(ids), x.slice(1, i * part_dim_, part_dim_));
    }
  }

  /// tables [Q, m, K] of queries q [Q, D].
  void tables(View<const T, 2> q, TableOf what, View<T, 3> out,
              const Context& ctx = Context{}) const {
    require(q.extent(1) == dim() && out.extent(0) == q.extent(0) && out.extent(1) == parts() &&
                out.extent(2) == size(),
            "tables: queries are ", q, ", tables ", out, "; wanted [Q, ", dim(), "] and [Q, ",
            parts(), ", ", size(), "]");
    for (Index i = 0; i < parts(); ++i) {
      const auto query = q.slice(1, i * part_dim_, part_dim_);
      const auto table = out.select(1, i);
      if (what == TableOf::products)
        part(i).products(query, table, ctx);
      else
        squared_distances(query, part(i).codebook(), table);
    }
  }

 private:
  template <class X, class Code>
  void check(const View<X, 2>& x, const View<Code, 2>& codes) const {
    require(x.extent(1) == dim() && codes.extent(0) == x.extent(0) && codes.extent(1) == parts(),
            "ProductQuantizer: x is ", x, ", codes ", codes, "; wanted [N, ", dim(), "] and [N, ",
            parts(), "]");
    const auto largest =
        static_cast<Index>(std::min<std::int64_t>(std::numeric_limits<Code>::max(), INT32_MAX));
    require(size_ - 1 <= largest, "ProductQuantizer: codes up to ", size_ - 1, " do not fit in ",
            8 * sizeof(Code), " bits");
  }

  /// By differences: from products they would cancel.
  static void squared_distances(const View<const T, 2>& q, const View<const T, 2>& codes,
                                const View<T, 2>& out) {
    for (Index n = 0; n < q.extent(0); ++n)
      for (Index j = 0; j < codes.extent(0); ++j) {
        T sum = 0;
        for (Index d = 0; d < codes.extent(1); ++d) {
          const T away = q(n, d) - codes(j, d);
          sum += away * away;
        }
        out(n, j) = sum;
      }
  }

  std::vector<VectorQuantizer<T, A>> parts_;
  Index size_, part_dim_;
};

/// Codebooks learned from x [N, m d] by k-means from `init` [m, K, d], each part by itself.
template <class A = DefaultArch, class T>
Tensor<T, 3> product_codebooks(View<const T, 2> x, View<const T, 3> init, int iterations,
                               const Context& ctx = Context{}) {
  const Index m = init.extent(0), K = init.extent(1), d = init.extent(2);
  require(x.extent(1) == m * d, "product_codebooks: x is ", x, ", init ", init);
  Tensor<T, 3> out(init.shape());
  for (Index i = 0; i < m; ++i) {
    const auto means = k_means<A, T>(x.slice(1, i * d, d), init.select(0, i), iterations, ctx);
    std::copy_n(means.centroids.data(), K * d, &out(i, 0, 0));
  }
  return out;
}

namespace detail {

/// The sum of one entry per part. Four sums hide the latency of the addition; gathers of AVX2 and
/// AVX-512 are no faster than the loads they are made of.
template <class A, class T, class Code>
T look_up(const T* table, Index size, const Code* codes, Index parts) noexcept {
  T a = 0, b = 0, c = 0, d = 0;
  Index i = 0;
  for (; i + 4 <= parts; i += 4, table += 4 * size) {
    a += table[codes[i]];
    b += table[size + codes[i + 1]];
    c += table[2 * size + codes[i + 2]];
    d += table[3 * size + codes[i + 3]];
  }
  for (; i < parts; ++i, table += size) a += table[codes[i]];
  return (a + b) + (c + d);
}

}  // namespace detail

/// scores [N] of coded vectors [N, m] by the table [m, K] of one query, whose rows are contiguous.
/// Codes are not checked: they must be below K.
template <class T, class Code, class A = DefaultArch>
void look_up_scores(View<const T, 2> table, View<const Code, 2> codes, View<T, 1> scores,
                    const Context& ctx = Context{}) {
  const Index parts = table.extent(0), size = table.extent(1), count = codes.extent(0);
  require(codes.extent(1) == parts && scores.extent(0) == count, "look_up_scores: the table is ",
          table, ", codes ", codes, ", scores ", scores, "; wanted [m, K], [N, m] and [N]");
  require(table.is_packed() && (parts <= 1 || codes.stride(1) == 1),
          "look_up_scores: the table and the rows of codes must be contiguous");
  constexpr Index kBlock = 1024;
  ctx.parallel(ceil_div(count, kBlock), [&](Index task, Arena&) {
    const Index end = std::min((task + 1) * kBlock, count);
    for (Index n = task * kBlock; n < end; ++n)
      scores(n) = detail::look_up<A>(table.data(), size, codes.pointer(n), parts);
  });
}

}  // namespace weft::quant
