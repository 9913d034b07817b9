#pragma once

#include "reference/image_attention.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/layer/depthwise_conv.hpp>
#include <weft/layer/heads.hpp>

/// Images of tokens, as maps for the library and as rows for the reference.
namespace images {

using reference::Matrix;
using weft::DepthwiseConv;
using weft::Index;
using weft::Tensor;
using weft::View;

inline constexpr double kTolerance = 1e-13;
inline constexpr Index kRows = 5, kColumns = 4, kTokens = kRows * kColumns, kHeads = 3,
                       kChannels = 18;

inline Matrix tokens_of(const View<const double, 3>& x, Index b) {
  Matrix rows;
  for (Index i = 0; i < x.extent(1); ++i) rows.push_back(doubles_of(x.select(0, b).select(0, i)));
  return rows;
}

inline std::vector<double> flat(const Matrix& x) {
  std::vector<double> all;
  for (const auto& row : x) all.insert(all.end(), row.begin(), row.end());
  return all;
}

/// Two images of tokens [B, N, C]; the map of one is a view.
struct Images {
  Tensor<double, 3> q, k, v;

  explicit Images(Index channels = kChannels)
      : q(even_values<double, 3>({2, kTokens, channels}, 1)),
        k(even_values<double, 3>({2, kTokens, channels}, 2)),
        v(even_values<double, 3>({2, kTokens, channels}, 3)) {}

  /// forward(mixer) on maps, and truth(q, k, v) of each image.
  template <class M, class Truth>
  void require_maps(const M& mixer, Truth truth) const {
    const Poisoned<double, 3> out(q.shape());
    const auto map = [](auto view) { return weft::map_of_tokens(view, kRows); };
    forward(mixer, map(q.view()), map(k.view()), map(v.view()), map(out.view()));
    for (Index b = 0; b < 2; ++b)
      CHECK(largest_error(doubles_of(out.view().select(0, b)),
                          flat(truth(tokens_of(q, b), tokens_of(k, b), tokens_of(v, b)))) <=
            kTolerance);
    CHECK(out.guards_intact());
  }
};

/// A convolution of 3 x 3 shared by the heads, and what the reference makes of it.
struct Conv {
  Tensor<double, 3> weight = even_values<double, 3>({kChannels / kHeads, 3, 3}, 4);
  DepthwiseConv<double> conv = weft::shared_by_heads<double>(weight.view(), {}, kHeads);

  Matrix operator()(const Matrix& v) const {
    return reference::depthwise(v, kColumns, 3, [&](std::size_t c, std::size_t i, std::size_t j) {
      return weight(static_cast<Index>(c) % weight.extent(0), static_cast<Index>(i),
                    static_cast<Index>(j));
    });
  }
};

}  // namespace images
