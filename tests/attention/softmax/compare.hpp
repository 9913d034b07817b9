#pragma once

#include "cases/softmax.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>

/// Runs rows of the case table and measures their errors against the reference.
namespace cases {

inline std::string text(const AttentionShape& s) {
  const auto n = [](Index i) { return std::to_string(i); };
  return "B=" + n(s.B) + " Hq=" + n(s.Hq) + " Hk=" + n(s.Hk) + " N=" + n(s.N) + " M=" + n(s.M) +
         " D=" + n(s.D) + " E=" + n(s.E);
}

/// Largest magnitude of finite numbers.
inline double largest_finite(const reference::Values& values) {
  double largest = 0;
  for (const double x : values) {
    if (std::isfinite(x)) largest = std::max(largest, std::abs(x));
  }
  return largest;
}

/// Largest difference over the largest finite expected magnitude (or 1 if that is less and the
/// numbers are logarithms). Infinities must agree; a NaN makes it infinite.
inline double error_of(const reference::Values& got, const reference::Values& expected,
                       double at_least = std::numeric_limits<double>::min()) {
  const double scale = std::max(largest_finite(expected), at_least);
  double worst = got.size() == expected.size() ? 0 : HUGE_VAL;
  for (std::size_t i = 0; i < std::min(got.size(), expected.size()); ++i) {
    const double d = got[i] == expected[i] ? 0 : std::abs(got[i] - expected[i]) / scale;
    worst = d <= worst ? worst : (std::isnan(d) ? HUGE_VAL : d);
  }
  return worst;
}

/// Error allowed relative to the largest output. Logits of magnitude L are known to a few eps * L,
/// which exp turns into a relative error of the weights; |LSE| stands for L. Storage of 16 bits
/// rounds the result, and q and k once more in the rows that change them.
template <class T>
double tolerance_of(const reference::AttentionResult& expected, bool changes_inputs) {
  using P = weft::Accumulator<T>;
  const double logits = largest_finite(expected.lse);
  const double computed = std::numeric_limits<P>::epsilon() * (16 + 4 * logits);
  if (std::is_same_v<P, T>) return computed;
  const double rounded = static_cast<double>(std::numeric_limits<T>::epsilon());
  return computed + rounded * (changes_inputs ? 1 + 2 * logits : 1);
}

/// N, M, D and E: one, primes, just beside the tiles of 256 keys, no multiples of a vector.
inline constexpr AttentionShape kShapes[] = {
    {.B = 1, .N = 1, .M = 1, .D = 1, .E = 1},       {.B = 2, .N = 1, .M = 7, .D = 3, .E = 40},
    {.B = 1, .N = 2, .M = 65, .D = 40, .E = 3},     {.B = 2, .N = 7, .M = 7, .D = 60, .E = 60},
    {.B = 1, .N = 63, .M = 64, .D = 64, .E = 64},   {.B = 2, .N = 65, .M = 63, .D = 72, .E = 80},
    {.B = 1, .N = 64, .M = 257, .D = 80, .E = 72},  {.B = 1, .N = 131, .M = 131, .D = 96, .E = 128},
    {.B = 1, .N = 19, .M = 513, .D = 128, .E = 64}, {.B = 1, .N = 290, .M = 33, .D = 16, .E = 24},
    {.B = 2, .N = 0, .M = 5, .D = 8, .E = 8},       {.B = 2, .N = 5, .M = 0, .D = 8, .E = 8},
    {.B = 0, .N = 5, .M = 5, .D = 8, .E = 8},
};

/// The shape with 2 key/value heads, and query heads as the row wants them.
template <class Row>
AttentionShape with_heads(const Row& row, AttentionShape shape) {
  shape.Hk = 2;
  shape.Hq = 2 * row.group;
  return shape;
}

struct Errors {
  double out, lse, tolerance;
  bool guards;

  bool ok() const { return out <= tolerance && lse <= tolerance && guards; }
};

/// One row of the table on one shape, forward and LSE, against the reference.
template <class T, class Row>
Errors check_forward(const Row& row, const AttentionShape& shape,
                     const weft::Context& context = weft::Context()) {
  AttentionInputs<T> in(shape);
  Question question(in);
  const auto mixer = row.mixer(in);
  row.ask(in, question);
  const reference::AttentionResult expected = question.answer(shape);

  const Poisoned<T, 4> out({shape.B, shape.Hq, shape.N, shape.E});
  const Poisoned<weft::Accumulator<T>, 3> lse({shape.B, shape.Hq, shape.N});
  double lse_error = 0;
  if constexpr (weft::LseNormalizer<decltype(mixer.normalizer)>) {
    weft::forward_with_lse(mixer, in.q, in.k, in.v, out.view(), lse.view(), context);
    lse_error = error_of(doubles_of(lse.view()), expected.lse, 1.0);
  } else {
    weft::forward(mixer, in.q, in.k, in.v, out.view(), context);
  }
  return {error_of(doubles_of(out.view()), expected.out), lse_error,
          tolerance_of<T>(expected, row.changes_inputs),
          out.guards_intact() && lse.guards_intact()};
}

/// A test's check of one row of a case table at one shape, whose heads the row chooses.
template <class T, class Row>
void check_row(const Row& row, const AttentionShape& base) {
  const AttentionShape shape = with_heads(row, base);
  const Errors errors = check_forward<T>(row, shape);
  INFO(row.name << " " << text(shape) << ": out " << errors.out << ", lse " << errors.lse
                << ", allowed " << errors.tolerance);
  CHECK(errors.ok());
}

}  // namespace cases
