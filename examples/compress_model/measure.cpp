#include "measure.hpp"

#include <cmath>
#include <numeric>

namespace compress_model {

namespace {

double dot(const weft::View<const float, 2>& x, Index i, const weft::View<const float, 2>& y,
           Index j) {
  double sum = 0;
  for (Index c = 0; c < x.extent(1); ++c) sum += double{x(i, c)} * double{y(j, c)};
  return sum;
}

double cosine(const weft::View<const float, 2>& x, Index i, const weft::View<const float, 2>& y,
              Index j) {
  return dot(x, i, y, j) / std::sqrt(dot(x, i, x, i) * dot(y, j, y, j));
}

std::vector<double> similarities(const weft::View<const float, 2>& x) {
  std::vector<double> out;
  for (Index i = 0; i < x.extent(0); ++i)
    for (Index j = i + 1; j < x.extent(0); ++j) out.push_back(cosine(x, i, x, j));
  return out;
}

std::vector<double> ranks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> out(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (std::size_t i = begin; i < end; ++i)
      out[order[i]] = static_cast<double>(begin + end - 1) / 2;
    begin = end;
  }
  return out;
}

}  // namespace

double rank_correlation(std::span<const double> a, std::span<const double> b) {
  weft::require(a.size() == b.size(), "rank_correlation: ", a.size(), " and ", b.size(),
                " numbers");
  const auto x = ranks(a), y = ranks(b);
  const double mean = (static_cast<double>(a.size()) - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xy / std::sqrt(xx * yy);
}

Fidelity fidelity(weft::View<const float, 2> reference, weft::View<const float, 2> embeddings) {
  const Index count = reference.extent(0);
  weft::require(reference.shape() == embeddings.shape() && count > 0, "fidelity: the reference is ",
                reference, ", the embeddings are ", embeddings);
  Fidelity out{.mean_cosine = 0};
  for (Index s = 0; s < count; ++s) {
    const double c = cosine(reference, s, embeddings, s);
    out.mean_cosine += c / static_cast<double>(count);
    // Written so that a NaN is the worst.
    if (!(c >= out.worst_cosine)) out.worst_cosine = c;
  }
  out.rank_correlation = rank_correlation(similarities(reference), similarities(embeddings));
  return out;
}

}  // namespace compress_model
