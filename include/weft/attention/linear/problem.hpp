#pragma once

#include <weft/core/row_access.hpp>

#include <cstdint>

/// One call of a linear mixer as the engine sees it: storage types erased, shapes validated.
namespace weft::detail {

/// Tokens of one sequence: `batch` and `first` say where they lie among the data of the call,
/// `index` names the state.
struct Sequence {
  Index index, batch, first, queries, keys;
};

/// The states of all sequences and heads: S [F, E] and the sum of keys z [F].
template <class T>
struct StateRows {
  T* s = nullptr;
  Index s_sequence = 0, s_head = 0, s_row = 0;
  T* z = nullptr;
  Index z_sequence = 0, z_head = 0;
};

template <class T>
struct LinearProblem {
  Index sequences, heads;
  const std::int32_t* cu;  ///< prefix sums of a ragged batch, else null
  Index queries, keys;     ///< of every sequence that is not ragged
  Index dim, features, value_dim;
  Index position;  ///< of the first token in its sequence
  bool causal;
  double scale;
  InputRows<T> q, k, v;
  OutputRows<T> out;
  StateRows<T> state;  ///< to go on from and to advance; null: from zero, and forgotten

  Sequence sequence(Index b) const noexcept {
    if (cu == nullptr) return {b, b, 0, queries, keys};
    const Index n = Index{cu[b + 1]} - cu[b];
    return {b, 0, cu[b], n, n};
  }
};

}  // namespace weft::detail
