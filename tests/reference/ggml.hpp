#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

/// The values of ggml's blocks straight from their bytes. Shares nothing with the library.
namespace reference {

using Bytes = const std::uint8_t*;

inline double half_at(Bytes p) {
  const int bits = p[0] | p[1] << 8, e = (bits >> 10) & 31, m = bits & 1023;
  const double size = e == 0 ? std::ldexp(m, -24) : std::ldexp(1024 + m, e - 25);
  return bits >> 15 ? -size : size;
}

/// Code i of 32 whose first 16 are in the low halves of 16 bytes.
inline int half_code(Bytes qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

inline std::vector<double> q4_0(Bytes p) {
  std::vector<double> x;
  for (int i = 0; i < 32; ++i) x.push_back((half_code(p + 2, i) - 8) * half_at(p));
  return x;
}

inline std::vector<double> q4_1(Bytes p) {
  std::vector<double> x;
  for (int i = 0; i < 32; ++i) x.push_back(half_code(p + 4, i) * half_at(p) + half_at(p + 2));
  return x;
}

inline std::vector<double> q8_0(Bytes p) {
  std::vector<double> x;
  for (int i = 0; i < 32; ++i)
    x.push_back((p[2 + i] < 128 ? p[2 + i] : p[2 + i] - 256) * half_at(p));
  return x;
}

inline std::vector<double> mxfp4(Bytes p) {
  const double sizes[] = {0, .5, 1, 1.5, 2, 3, 4, 6};
  std::vector<double> x;
  for (int i = 0; i < 32; ++i) {
    const int code = half_code(p + 1, i);
    x.push_back(std::ldexp(code < 8 ? sizes[code] : -sizes[code - 8], p[0] - 127));
  }
  return x;
}

inline std::vector<double> q4_k(Bytes p) {
  const Bytes s = p + 4, qs = p + 16;
  std::vector<double> x;
  for (int i = 0; i < 256; ++i) {
    const int j = i / 32;
    const int scale = j < 4 ? s[j] % 64 : s[j + 4] % 16 + s[j - 4] / 64 * 16;
    const int min = j < 4 ? s[j + 4] % 64 : s[j + 4] / 16 + s[j] / 64 * 16;
    const int byte = qs[i / 64 * 32 + i % 32];
    const int code = j % 2 == 0 ? byte % 16 : byte / 16;
    x.push_back(half_at(p) * scale * code - half_at(p + 2) * min);
  }
  return x;
}

inline std::vector<double> tq2_0(Bytes p) {
  std::vector<double> x;
  for (int i = 0; i < 256; ++i) {
    const int h = i / 128, n = i % 128 / 32, m = i % 32;
    x.push_back((((p[32 * h + m] >> (2 * n)) & 3) - 1) * half_at(p + 64));
  }
  return x;
}

}  // namespace reference
