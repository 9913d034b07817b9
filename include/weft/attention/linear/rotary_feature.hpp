#pragma once

#include <weft/attention/linear/mixer.hpp>
#include <weft/position/rope.hpp>

namespace weft {

/// Rotary positions as a feature map: phi(x) = x turned by the angles of its position (RoFormer,
/// arXiv:2104.09864). Products of features depend on the distance of their tokens alone. The table
/// must outlive the mixer and hold all positions of a call, which it throws for otherwise; a stream
/// without end takes a table for each of its pieces, from the position of the state on.
template <class T = float>
struct Rotary {
  const RopeTable<T>* table;

  explicit Rotary(const RopeTable<T>& positions) noexcept : table(&positions) {}

  Index size(Index dim) const noexcept { return dim; }
  template <class A>
  void map(const FeatureRows<T>& x, Arena&) const {
    const auto rows = [&](auto* data, Index ld) {
      return View<std::remove_pointer_t<decltype(data)>, 4>(data, {1, 1, x.rows, x.dim},
                                                            {0, 0, ld, 1});
    };
    apply_rope<A>(*table, rows(x.from, x.from_ld), rows(x.to, x.to_ld), x.position);
  }
  void check(Index, Index, Index dim) const {
    require(dim >= table->rotary(), "Rotary: the table turns ", table->rotary(),
            " channels, there are ", dim);
  }
  void check_positions(Index from, Index to) const {
    require(from >= table->first() && to <= table->first() + table->count(), "Rotary: positions [",
            from, ", ", to, ") leave the table's [", table->first(), ", ",
            table->first() + table->count(), ")");
  }
};
static_assert(FeatureMap<Rotary<float>>);

}  // namespace weft
