#pragma once

#include <weft/position/rope.hpp>

namespace weft {

/// Rotary position embedding by time: token n of batch b turns by the angles
///
///   (t[b, n] - t_ref[b]) f_i                          t real, in any unit; f_i radians per unit
///
/// so that the product of a query and a key depends on the time between them. The definition is
/// ours: SynerGen (arXiv:2509.21777) names a time-aware RoPE whose formula was not to be had.
///
/// The reference time is taken off in double before the product, for seconds since 1970 leave no
/// digits to an angle in float; queries and keys that meet must share it. A common shift of all
/// times, reference included, changes nothing.
///
/// Holds the turns of all tokens, times.size() R elements (half) or twice that (interleaved).
template <class T = float>
class TimeRope {
 public:
  /// times [B, N], reference [B]. Throws when they disagree or are not finite.
  TimeRope(const RopeFrequencies& frequencies, RopeLayout layout, View<const double, 2> times,
           View<const double, 1> reference)
      : rows_(times.shape()), table_(frequencies, layout, since(times, reference).view()) {
    for (Index r = 0; r < rows_.size(); ++r) rows_.data()[r] = static_cast<std::int32_t>(r);
  }

  /// Rotates x [B, H, N, D] into out, which may be x. Throws as apply_rope does, and when B and N
  /// are not those of the times. Time O(B H N D).
  template <class A = DefaultArch, ViewLike<4> X, ViewLike<4> Y>
  void apply(const X& x, Y&& out, const Context& ctx = Context{}) const {
    apply_rope<A>(table_, x, out, rows_.view(), ctx);
  }

 private:
  static Tensor<double, 1> since(View<const double, 2> times, View<const double, 1> reference) {
    require(reference.extent(0) == times.extent(0), "TimeRope: ", reference.extent(0),
            " reference times for ", times.extent(0), " sequences");
    Tensor<double, 1> elapsed({times.size()});
    for (Index b = 0; b < times.extent(0); ++b)
      for (Index n = 0; n < times.extent(1); ++n) {
        const double t = times(b, n) - reference(b);
        require(std::isfinite(t), "TimeRope: time ", n, " of sequence ", b, " is ", times(b, n),
                ", its reference ", reference(b));
        elapsed(b * times.extent(1) + n) = t;
      }
    return elapsed;
  }

  Tensor<std::int32_t, 2> rows_;  // of the table, [B, N]
  RopeTable<T> table_;
};

}  // namespace weft
