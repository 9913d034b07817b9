#pragma once

#include <weft/attention/softmax/kv_rows.hpp>

#include <cstddef>

/// One attention call as the engine sees it: storage types erased, shapes validated.
namespace weft::detail {

/// Rows of queries in memory of any storage type; strides in bytes. Batch element b starts at token
/// cu[b] of one long sequence when the batch is ragged.
template <class T>
struct QueryRows {
  const std::byte* base;
  Index batch, head, row;
  void (*load)(const void* row, T* to, Index n, Index padded) noexcept;
  bool in_place;  ///< rows are T, of whole vectors
};

/// Log-sum-exp outputs, strides in elements; base may be null.
template <class T>
struct LseRows {
  T* base = nullptr;
  Index batch = 0, head = 0, row = 0;
};

template <class T>
struct Problem {
  Index batch;
  Index heads;
  Index queries;             ///< of every batch element, or the longest of a ragged batch
  const std::int32_t* cu_q;  ///< prefix sums of a ragged batch, else null
  double scale;
  QueryRows<T> q;
  OutputRows<T> out;
  LseRows<T> lse;
  KvRows<T> kv;

  Index group() const noexcept { return heads / kv.kv_heads; }
  Index queries_of(Index b) const noexcept {
    return cu_q == nullptr ? queries : Index{cu_q[b + 1]} - cu_q[b];
  }
  Index keys_of(Index b) const noexcept { return kv.keys(kv.source, b); }

  const std::byte* query(Index b, Index h, Index i) const noexcept {
    return q.base + offset(q, b, h, i);
  }
  std::byte* output(Index b, Index h, Index i) const noexcept {
    return out.base + offset(out, b, h, i);
  }
  T* lse_at(Index b, Index h, Index i) const noexcept {
    return lse.base == nullptr ? nullptr : lse.base + offset(lse, b, h, i);
  }

 private:
  template <class Rows>
  Index offset(const Rows& rows, Index b, Index h, Index i) const noexcept {
    return (cu_q == nullptr ? b * rows.batch : cu_q[b] * rows.row) + h * rows.head + i * rows.row;
  }
};

}  // namespace weft::detail
