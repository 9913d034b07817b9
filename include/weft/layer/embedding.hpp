#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/tensor.hpp>
#include <weft/layer/rows.hpp>

#include <concepts>

namespace weft {

/// Embedding lookup: out[t, :] = scale * table[ids[t], :].
///
/// table [V, D], ids [T] of any integer type, out [T, D]. Table and output are float, bf16 or fp16
/// in any combination, or double. Rows must be contiguous. Throws when shapes disagree or an id is
/// not in [0, V), and names the first such id and its place; nothing is written then. Time O(T D).
template <class A = DefaultArch, ViewLike<2> Table, ViewLike<1> Ids, ViewLike<2> Out>
void embed(const Table& table_like, const Ids& ids_like, Out&& out_like,
           const Context& ctx = Context{}, double scale = 1) {
  const auto table = view_of(table_like);
  const auto ids = view_of(ids_like);
  const auto out = view_of(out_like);
  using S = typename decltype(out)::value_type;
  using T = Accumulator<S>;
  static_assert(std::integral<typename decltype(ids)::value_type>, "ids are integers");
  require(out.extent(0) == ids.extent(0) && out.extent(1) == table.extent(1), "embed: out is ", out,
          ", wanted [", ids.extent(0), ", ", table.extent(1), "]");
  require(out.extent(1) <= 1 || (table.stride(1) == 1 && out.stride(1) == 1),
          "embed: the rows of table and out must be contiguous");
  for (Index t = 0; t < ids.extent(0); ++t) {
    const auto id = static_cast<Index>(ids(t));
    require(id >= 0 && id < table.extent(0), "embed: id ", id, " at place ", t,
            "; the table has rows 0 to ", table.extent(0) - 1);
  }
  detail::for_each_row(
      ctx,
      [&](Index t, S* row) {
        const auto* entry = table.pointer(static_cast<Index>(ids(t)));
        for (Index d = 0; d < out.extent(1); d += kWidth<T, A>) {
          const Index lanes = std::min(kWidth<T, A>, out.extent(1) - d);
          const Vec<T, A> v = load_as_partial<T, A>(entry + d, lanes);
          store_as_partial<A>(row + d, v * Vec<T, A>(static_cast<T>(scale)), lanes);
        }
      },
      out);
}

}  // namespace weft
