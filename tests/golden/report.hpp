#pragma once

#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>
#include <type_traits>

/// What the golden runner keeps of each case: the largest error in either precision, or why it
/// failed.
namespace golden {

/// Largest error allowed, relative to the largest expected magnitude of the tensor.
struct Tolerance {
  double fp64 = 1e-11;
  double fp32 = 1e-5;
};

/// Tolerance of softmax over logits of this magnitude: a logit is known to eps * |logit|, and exp
/// makes that a relative error of the weights.
inline Tolerance tolerance_for_logits(double largest) {
  const double eps32 = std::numeric_limits<float>::epsilon();
  return {largest > 1e3 ? 1e-9 : 1e-11, std::max(1e-5, 8 * eps32 * largest)};
}

/// The comparisons of one case. Any number of tensors; the case passes when all are within bounds.
class Case {
 public:
  /// Compares a result computed in T (float or double) with the expected values. Infinities must
  /// agree exactly and NaN is never right.
  template <class T, std::size_t Rank>
  void compare(const std::string& what, const weft::Tensor<T, Rank>& got,
               const weft::Tensor<double, Rank>& expected, Tolerance tolerance = {}) {
    constexpr bool is_double = std::is_same_v<T, double>;
    if (got.shape() != expected.shape()) {
      return fail(what + ": has shape " + shape_text(got.view()) + ", expected " +
                  shape_text(expected.view()));
    }
    double scale = 0, worst = 0;
    for (const double e : expected.span()) {
      if (std::isfinite(e)) scale = std::max(scale, std::abs(e));
    }
    for (weft::Index i = 0; i < got.size(); ++i) {
      const auto a = static_cast<double>(got.data()[i]);
      const double b = expected.data()[i];
      const double difference = a == b ? 0.0 : std::abs(a - b) / (scale == 0 ? 1 : scale);
      worst = difference <= worst ? worst : difference;  // a NaN sticks
      if (std::isnan(difference)) break;
    }
    double& largest = is_double ? fp64_ : fp32_;
    largest = worst <= largest ? largest : worst;
    const double allowed = is_double ? tolerance.fp64 : tolerance.fp32;
    if (!(worst <= allowed)) {
      fail(what + (is_double ? " in fp64" : " in fp32") + ": error " + text(worst) + ", allowed " +
           text(allowed));
    }
  }

  /// Something that must hold exactly.
  void require(const std::string& what, bool ok) {
    if (!ok) fail(what);
  }

  void fail(const std::string& why) { problems_ += (problems_.empty() ? "" : "; ") + why; }

  bool passed() const noexcept { return problems_.empty(); }
  const std::string& problems() const noexcept { return problems_; }

  /// The largest errors, "fp64 1.2e-16 fp32 3.4e-07"; nothing for a precision that was not used.
  std::string errors() const {
    std::string out;
    if (fp64_ >= 0 || std::isnan(fp64_)) out += "fp64 " + text(fp64_);
    if (fp32_ >= 0 || std::isnan(fp32_)) out += (out.empty() ? "fp32 " : " fp32 ") + text(fp32_);
    return out.empty() ? "exact" : out;
  }

 private:
  static std::string text(double value) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%.1e", value);
    return buffer;
  }

  double fp64_ = -1, fp32_ = -1;
  std::string problems_;
};

/// Runs cases one by one, prints a line for each and counts.
class Report {
 public:
  /// What the following cases belong to, e.g. "softmax/sdpa".
  void begin(std::string mechanism) { mechanism_ = std::move(mechanism); }

  /// Runs f(Case&); an exception fails the case and not the others.
  template <class F>
  void run(const std::string& name, F&& f) {
    Case c;
    try {
      f(c);
    } catch (const std::exception& e) {
      c.fail(e.what());
    }
    ++(c.passed() ? passed_ : failed_);
    print(name, c.passed() ? c.errors() + " passed" : "FAILED: " + c.problems());
  }

  void skip(const std::string& why) {
    ++skipped_;
    print("", "skipped: " + why);
  }

  void summary() const {
    std::printf("%d passed, %d failed, %d skipped\n", passed_, failed_, skipped_);
  }
  int passed() const noexcept { return passed_; }
  int failed() const noexcept { return failed_; }
  int skipped() const noexcept { return skipped_; }

 private:
  void print(const std::string& name, const std::string& result) const {
    const std::string where = mechanism_ + (name.empty() ? "" : " " + name);
    std::printf("%-40s %s\n", where.c_str(), result.c_str());
  }

  std::string mechanism_;
  int passed_ = 0, failed_ = 0, skipped_ = 0;
};

/// A result to be filled in, full of NaN: what a kernel forgets to write is noticed.
template <class T, std::size_t Rank>
weft::Tensor<T, Rank> unwritten(const std::array<weft::Index, Rank>& shape) {
  weft::Tensor<T, Rank> out(shape);
  std::fill_n(out.data(), out.size(), std::numeric_limits<T>::quiet_NaN());
  return out;
}

}  // namespace golden
