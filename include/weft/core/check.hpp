#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#if defined(__cpp_exceptions)
#include <stdexcept>
#elif !defined(WEFT_ON_ERROR)
#error "weft without exceptions: define WEFT_ON_ERROR(message), which must not return, before weft"
#endif

namespace weft {

/// Sizes, positions and strides. Signed, so that differences are ordinary numbers.
using Index = std::ptrdiff_t;

#if defined(__cpp_exceptions)
/// What bad input gets: names the argument, what was expected and what came.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
#endif

/// Reports an error: throws `weft::error`, or calls WEFT_ON_ERROR(message) under -fno-exceptions,
/// where `message` is a `const char*` and the macro must not return.
[[noreturn]] inline void fail(const std::string& message) {
#if defined(WEFT_ON_ERROR)
  WEFT_ON_ERROR(message.c_str());
  for (;;) {
  }
#else
  throw error("weft: " + message);
#endif
}

namespace detail {

inline void append(std::string& to, std::string_view text) { to += text; }
inline void append(std::string& to, const char* text) { to += text; }
inline void append(std::string& to, const std::string& text) { to += text; }
/// Numbers, and whatever has a `shape_text`: passed as it is, so that its text is made on failure
/// only.
template <class X>
void append(std::string& to, const X& value) {
  if constexpr (requires { shape_text(value); })
    to += shape_text(value);
  else
    to += std::to_string(value);
}

template <class... Parts>
[[noreturn]] void fail_with(const Parts&... parts) {
  std::string message;
  (append(message, parts), ...);
  fail(message);
}

}  // namespace detail

/// Checks one condition of a public function. The message is put together only when it is needed:
///   require(k.extent(1) == v.extent(1), "v has ", v.extent(1), " heads, k has ", k.extent(1));
template <class... Parts>
constexpr void require(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    detail::fail_with(parts...);
}

}  // namespace weft
