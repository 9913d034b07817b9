#pragma once

#include <weft/core/view.hpp>

#include <algorithm>
#include <chrono>
#include <limits>
#include <span>
#include <vector>

namespace compress_model {

using weft::Index;

/// How close embeddings are to those of the model that was compressed.
struct Fidelity {
  double mean_cosine = 1, worst_cosine = 1;
  double rank_correlation = 1;  ///< of the similarities of all pairs; NaN for less than 3 sentences
};

/// Both [sentences, width]. Throws where shapes differ, or there is no sentence.
Fidelity fidelity(weft::View<const float, 2> reference, weft::View<const float, 2> embeddings);

/// Spearman's: Pearson's correlation of ranks, where equal numbers share the mean of their ranks.
/// NaN where all numbers of a series are equal. Throws where sizes differ.
double rank_correlation(std::span<const double> a, std::span<const double> b);

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Seconds {
  double first, second;
};

/// The least times that two functions take. They take turns, so that other load on the machine
/// meets both.
template <class F, class G>
Seconds time_both(F first, G second) {
  constexpr double kAtLeast = 1;  // second
  constexpr int kRounds = 5;
  Seconds best{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
  const auto time = [](auto& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return seconds_since(start);
  };
  const auto begin = std::chrono::steady_clock::now();
  for (int round = 0; round < kRounds || seconds_since(begin) < kAtLeast; ++round) {
    best.first = std::min(best.first, time(first));
    best.second = std::min(best.second, time(second));
  }
  return best;
}

}  // namespace compress_model
