#pragma once

#include <weft/core/random.hpp>
#include <weft/core/view.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>

namespace generate {

/// Chooses the next byte from the 256 logits of a step.
///
/// The probabilities are softmax(logits / temperature) over the `top_k` largest logits; temperature
/// 0 takes the largest (of equal ones the first). The same seed gives the same text everywhere.
class Sampler {
 public:
  Sampler(double temperature, int top_k, std::uint64_t seed)
      : temperature_(temperature), top_k_(top_k == 0 ? 256 : top_k), random_(seed) {}

  std::uint8_t operator()(weft::View<const float, 1> logits) {
    std::array<std::uint8_t, 256> order;
    std::iota(order.begin(), order.end(), std::uint8_t{0});
    const auto likelier = [&](std::uint8_t a, std::uint8_t b) {
      return logits(a) > logits(b) || (logits(a) == logits(b) && a < b);
    };
    const int count = temperature_ == 0 ? 1 : top_k_;
    std::partial_sort(order.begin(), order.begin() + count, order.end(), likelier);
    return count == 1 ? order[0] : draw(logits, order, static_cast<std::size_t>(count));
  }

 private:
  std::uint8_t draw(weft::View<const float, 1> logits, const std::array<std::uint8_t, 256>& order,
                    std::size_t count) {
    std::array<double, 256> sums;
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double below = double{logits(order[i])} - double{logits(order[0])};
      sums[i] = sum += std::exp(below / temperature_);
    }
    const double point = double{random_.uniform()} * sum;
    const auto at = std::upper_bound(sums.begin(), sums.begin() + count, point) - sums.begin();
    return order[std::min(static_cast<std::size_t>(at), count - 1)];
  }

  double temperature_;
  int top_k_;
  weft::Philox random_;
};

}  // namespace generate
