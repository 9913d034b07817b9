#pragma once

#include <weft/core/view.hpp>

/// Channels as heads: channels h D .. (h + 1) D of a token are those of head h.
namespace weft {

/// x [B, N, H D] seen as [B, H, N, D]. Throws unless H divides the channels.
template <class T>
View<T, 4> heads_of_tokens(const View<T, 3>& x, Index heads) {
  require(heads >= 1 && x.extent(2) % heads == 0, "heads_of_tokens: ", heads, " heads share ",
          x.extent(2), " channels; the first must divide the second");
  const Index channels = x.extent(2) / heads;
  return {x.data(),
          {x.extent(0), heads, x.extent(1), channels},
          {x.stride(0), channels * x.stride(2), x.stride(1), x.stride(2)}};
}

/// A map x [B, rows, columns, C] seen as its tokens [B, rows columns, C] in raster order. Throws
/// unless one stride leads from each token to the next.
template <class T>
View<T, 3> tokens_of_map(const View<T, 4>& x) {
  require(x.extent(1) <= 1 || x.stride(1) == x.extent(2) * x.stride(2),
          "tokens_of_map: the rows of ", x, " must follow one another in memory");
  return {x.data(),
          {x.extent(0), x.extent(1) * x.extent(2), x.extent(3)},
          {x.stride(0), x.stride(2), x.stride(3)}};
}

/// A map x [B, rows, columns, H D] seen as the heads of its tokens [B, H, rows columns, D]. Throws
/// likewise.
template <class T>
View<T, 4> heads_of_map(const View<T, 4>& x, Index heads) {
  return heads_of_tokens(tokens_of_map(x), heads);
}

/// Tokens x [B, N, C] seen as a map [B, rows, N / rows, C]. Throws unless `rows` divides N.
template <class T>
View<T, 4> map_of_tokens(const View<T, 3>& x, Index rows) {
  require(rows >= 1 && x.extent(1) % rows == 0, "map_of_tokens: ", x.extent(1), " tokens in ", rows,
          " rows; the second must divide the first");
  const Index columns = x.extent(1) / rows;
  return {x.data(),
          {x.extent(0), rows, columns, x.extent(2)},
          {x.stride(0), columns * x.stride(1), x.stride(1), x.stride(2)}};
}

/// x [B, H, N, D] whose heads lie side by side in memory, seen as [B, N, H D]. Throws where they do
/// not.
template <class T>
View<T, 3> tokens_of_heads(const View<T, 4>& x) {
  require(x.extent(1) <= 1 || x.stride(1) == x.extent(3), "tokens_of_heads: the heads of ", x,
          " must lie side by side, but head 1 begins ", x.stride(1), " elements after head 0");
  return {x.data(),
          {x.extent(0), x.extent(2), x.extent(1) * x.extent(3)},
          {x.stride(0), x.stride(2), x.stride(3)}};
}

}  // namespace weft
