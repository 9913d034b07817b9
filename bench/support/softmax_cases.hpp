#pragma once

#include "row.hpp"

#include <string>

/// Attention shapes that weft and its peers are timed on.
namespace bench {

/// Storage of q, k, v and out. Products are in fp32, for f64 in fp64; bf16_products is bf16 storage
/// multiplied as such, with sums in fp32.
enum class Storage { f32, f64, bf16, bf16_products };

struct SoftmaxCase {
  Index heads = 8;
  Index queries = 0;
  Index key_dim = 64;
  Index batch = 1;
  Index kv_heads = heads;
  Index keys = queries;
  Index value_dim = key_dim;
  bool causal = false;
  Storage storage = Storage::f32;
  int threads = 1;

  /// Pairs of a query and a key that it sees, in one head.
  double pairs() const {
    const auto n = static_cast<double>(queries), m = static_cast<double>(keys);
    return causal ? n * m - n * (n - 1) / 2 : n * m;
  }

  /// softmax/<full or causal>/forward/...
  Row row() const {
    const char* types[] = {"f32", "f64", "bf16", "bf16_products"};
    const double element = storage == Storage::f32 ? 4 : storage == Storage::f64 ? 8 : 2;
    const Index read = kv_heads * keys * (key_dim + value_dim);
    const Index written = heads * queries * (key_dim + value_dim);
    return {.name = std::string("softmax/") + (causal ? "causal" : "full") + "/forward/" +
                    types[static_cast<int>(storage)] + sizes(),
            .flops = 2.0 * static_cast<double>(batch * heads * (key_dim + value_dim)) * pairs(),
            .bytes = element * static_cast<double>(batch * (read + written)),
            .floor = floor(),
            .threads = threads};
  }

  /// The end of the name; sizes that equal their default are left out.
  std::string sizes() const {
    std::string text = row_name("", {{"B", batch}, {"H", heads}});
    if (kv_heads != heads) text += row_name("", {{"Hk", kv_heads}});
    text += row_name("", {{"N", queries}});
    if (keys != queries) text += row_name("", {{"M", keys}});
    text += row_name("", {{"D", key_dim}});
    if (value_dim != key_dim) text += row_name("", {{"E", value_dim}});
    return text + row_name("", {{"threads", threads}});
  }

 private:
  /// One query reads every key and value for few operations: memory limits it.
  Floor floor() const {
    if (queries == 1 && keys > 1) return Floor::read;
    if (storage == Storage::bf16_products) return Floor::bf16;
    return storage == Storage::f64 ? Floor::fma_f64 : Floor::fma_f32;
  }
};

inline constexpr SoftmaxCase kSoftmaxCases[] = {
    // Long sequences, and the two head sizes of most models.
    {.queries = 2048},
    {.queries = 2048, .key_dim = 128},
    {.queries = 4096},
    {.queries = 4096, .causal = true},
    {.queries = 2048, .causal = true},
    {.queries = 2048, .threads = 2},
    {.queries = 4096, .causal = true, .threads = 2},
    // From one token to long sequences; batches of small windows.
    {.queries = 1},
    {.queries = 16},
    {.queries = 49},
    {.queries = 64},
    {.queries = 128},
    {.queries = 512},
    {.queries = 16, .batch = 64},
    {.heads = 4, .queries = 49, .key_dim = 32, .batch = 64},
    // Head sizes that are no multiple of a vector, beside the next multiples; values of another
    // size.
    {.queries = 1024, .key_dim = 40},
    {.queries = 1024, .key_dim = 48},
    {.queries = 1024, .key_dim = 64},
    {.queries = 1024, .key_dim = 72},
    {.queries = 1024, .key_dim = 80},
    {.queries = 1024, .key_dim = 96},
    {.queries = 1024, .key_dim = 112},
    {.queries = 1024, .key_dim = 64, .value_dim = 40},
    {.queries = 1024, .key_dim = 40, .value_dim = 64},
    {.queries = 1024, .key_dim = 64, .value_dim = 128},
    // Other storage.
    {.queries = 2048, .storage = Storage::bf16},
    {.queries = 2048, .key_dim = 128, .storage = Storage::bf16},
    {.queries = 2048, .storage = Storage::bf16_products},
    {.queries = 2048, .key_dim = 128, .storage = Storage::bf16_products},
    {.queries = 2048, .storage = Storage::f64},
    // Decoding: one query per head over a long cache; groups of 1, 4 and 8 query heads.
    {.heads = 32, .queries = 1, .key_dim = 128, .kv_heads = 8, .keys = 16384},
    {.heads = 32,
     .queries = 1,
     .key_dim = 128,
     .kv_heads = 8,
     .keys = 16384,
     .storage = Storage::bf16},
    {.heads = 8, .queries = 1, .key_dim = 128, .keys = 16384},
    {.heads = 64, .queries = 1, .key_dim = 128, .kv_heads = 8, .keys = 16384},
    {.heads = 32, .queries = 1, .key_dim = 128, .kv_heads = 8, .keys = 16384, .threads = 2},
};

}  // namespace bench
