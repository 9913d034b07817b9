#pragma once

#include "golden/attention.hpp"

/// Mechanisms whose golden files hold tokens [B, N, C].
namespace golden {

/// Queries, keys and values of tokens [B, N, C].
template <class T>
struct TokenInputs {
  TokenInputs(const SafetensorsFile& file, const std::string& name)
      : q(file.read<T, 3>(name + ".q")),
        k(file.read<T, 3>(name + ".k")),
        v(file.read<T, 3>(name + ".v")) {}

  Tensor<T, 3> q, k, v;
};

inline Index number(const SafetensorsFile& file, const std::string& name) {
  return file.read<std::int32_t, 1>(name)(0);
}

/// Runs f(T{}, case, name) of every case.
template <class F>
void run_each(const SafetensorsFile& file, Report& report, F f) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) { f(type, c, name); });
}

}  // namespace golden
