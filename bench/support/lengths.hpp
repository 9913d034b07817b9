#pragma once

#include "row.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

/// Rows that ask how the time of a mixer grows with the length of the sequence.
///
///   crossover/<variant>/f32/H=/D=/E=   from which length on it is faster than softmax attention of
///                                      the same heads and channels: counter `crossover`, absent
///                                      where that is beyond the longest tried, and `of_softmax_N`,
///                                      its time over softmax's, up to there
///   per_token/<variant>/f32/H=/D=/E=   counters `ns_N`, nanoseconds per token of all heads at the
///                                      lengths 1024 to 65536, and `spread`, the most over the
///                                      least
///
/// Calls that are compared are made in turn, and the least time of each counts.
namespace bench {

using Call = std::function<void()>;
using CallOfLength = std::function<Call(Index length, const weft::Context&)>;

/// A call that owns what it works on.
template <class F>
Call shared_call(F f) {
  return [own = std::make_shared<F>(std::move(f))] { (*own)(); };
}

/// The softmax attention that a mixer stands for.
struct Attention {
  Index heads, key_dim, value_dim;
  bool causal;
};

/// `make(length, context)` prepares a call of the mixer.
void add_crossover(const std::string& variant, const Attention& other, CallOfLength make,
                   std::vector<Index> lengths = {64, 128, 256, 512, 1024, 2048, 4096});

/// The same beside a call of its own, for mixers that are more than attention: `shape` names the
/// row only.
void add_crossover(const std::string& variant, const Attention& shape, CallOfLength make,
                   CallOfLength other, std::vector<Index> lengths);

void add_per_token(const std::string& variant, const Attention& shape, CallOfLength make);

}  // namespace bench
