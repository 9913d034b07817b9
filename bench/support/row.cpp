#include "row.hpp"

#include <weft/core/tensor.hpp>
#include <weft/core/thread_pool.hpp>

#include <algorithm>
#include <ctime>
#include <vector>

namespace bench {
namespace {

std::vector<std::function<void()>>& registrations() {
  static std::vector<std::function<void()>> all;
  return all;
}

/// Memory as large as what a row reads; kept, because filling it costs more than reading it.
std::span<const float> read_buffer(double bytes) {
  constexpr double smallest = 1 << 18, largest = 1 << 28;
  static weft::Tensor<float, 1> buffer;
  const auto count =
      static_cast<Index>(std::clamp(bytes, smallest, largest)) / Index{sizeof(float)};
  if (buffer.size() < count) buffer = weft::Tensor<float, 1>({count});
  return std::span<const float>(buffer.data(), static_cast<std::size_t>(count));
}

double bf16_rate(const weft::Context& context) {
  return std::max({best_rate(tile_bf16_burst(), context), best_rate(dot_bf16_burst(), context),
                   best_rate(fma_burst<float>(), context)});
}

double int8_rate(const weft::Context& context) {
  return std::max({best_rate(tile_int8_burst(), context), best_rate(dot_int8_burst(), context),
                   best_rate(fma_burst<float>(), context)});
}

double read_rate(std::span<const float> buffer, const weft::Context& context) {
  return std::max(best_rate(read_burst(buffer, 1), context),
                  best_rate(read_burst(buffer, 8), context));
}

}  // namespace

Row Row::by(std::string_view prefix) const {
  Row other = *this;
  other.name = std::string(prefix) + "/" + name;
  return other;
}

Rows::Rows(std::function<void()> add_all) { registrations().push_back(std::move(add_all)); }

std::string row_name(std::string_view name,
                     std::initializer_list<std::pair<std::string_view, Index>> keys) {
  std::string text(name);
  for (const auto& [key, value] : keys) {
    text += '/';
    text += key;
    text += '=' + std::to_string(value);
  }
  return text;
}

void register_all_rows() {
  for (const auto& add_all : registrations()) add_all();
}

void with_context(int threads, const std::function<void(const weft::Context&)>& f) {
  if (threads == 1) return f(weft::Context());
  weft::ThreadPool pool(threads);
  f(weft::Context(pool));
}

double floor_rate(const Row& row, const weft::Context& context) {
  switch (row.floor) {
    case Floor::fma_f32: return best_rate(fma_burst<float>(), context);
    case Floor::fma_f64: return best_rate(fma_burst<double>(), context);
    case Floor::bf16: return bf16_rate(context);
    case Floor::int8: return int8_rate(context);
    case Floor::read: return read_rate(read_buffer(row.bytes), context);
  }
  return 0;
}

double row_clock(int threads) {
  if (threads > 1) return now();
  // Not of the process: workers that a peer's library starts wait in a loop for some tenths of a
  // second.
  std::timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

void report(benchmark::State& state, const Row& row, double seconds, double floor,
            const weft::Context& context) {
  const double calls = static_cast<double>(state.iterations()) / seconds;
  state.counters["seconds"] = 1 / calls;
  const double done = row.floor == Floor::read ? row.bytes : row.flops;
  if (row.flops > 0) state.counters["GFLOP/s"] = row.flops * calls * 1e-9;
  if (row.bytes > 0) state.counters["bytes/s"] = row.bytes * calls;
  if (done > 0 && floor > 0) state.counters["peak"] = done * calls / floor;
  state.counters["scratch"] = static_cast<double>(context.scratch_bytes());
}

}  // namespace bench
