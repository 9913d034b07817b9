#pragma once

#include <weft/core/check.hpp>

#include <nlohmann/json.hpp>

#include <cctype>
#include <string>
#include <string_view>

namespace weft {

/// Reads a Python literal as JSON: dictionaries with string keys become objects, tuples and lists
/// arrays, None null; True, False, numbers and strings in either quotes are themselves. That is
/// what .npy headers and the notes in many checkpoint files are made of:
///   python_literal("{'shape': (3, 4), 'order': None, }")  ->  {"shape": [3, 4], "order": null}
///
/// Strings know the escapes \\ \' \" \n \t only. Throws weft::error that begins with `what` on
/// anything else, and on nesting deeper than 32.
inline nlohmann::json python_literal(std::string_view text, std::string_view what);

namespace detail {

class PythonReader {
 public:
  PythonReader(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  nlohmann::json all() {
    nlohmann::json out = value(0);
    require(peek() == '\0' && at_ == text_.size(), what_, ": text after the end of the literal");
    return out;
  }

 private:
  /// The next character that is no space; '\0' at the end.
  char peek() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool skip(char wanted) {
    if (peek() != wanted || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  [[noreturn]] void refuse() const {
    fail(std::string(what_) + ": not a Python literal at character " + std::to_string(at_));
  }

  nlohmann::json value(int depth) {
    if (depth > 32) refuse();
    switch (peek()) {
      case '{': return dictionary(depth);
      case '(': return sequence(')', depth);
      case '[': return sequence(']', depth);
      case '\'':
      case '"': return string();
      default: return word();
    }
  }

  nlohmann::json dictionary(int depth) {
    nlohmann::json out = nlohmann::json::object();
    ++at_;
    while (!skip('}')) {
      if (const char quote = peek(); quote != '\'' && quote != '"') refuse();
      const std::string key = string();
      if (!skip(':') || out.contains(key)) refuse();
      out[key] = value(depth + 1);
      if (!skip(',') && peek() != '}') refuse();
    }
    return out;
  }

  /// A tuple or list. Parentheses around one value without a comma are only parentheses.
  nlohmann::json sequence(char end, int depth) {
    nlohmann::json out = nlohmann::json::array();
    bool comma = end == ']';
    ++at_;
    while (!skip(end)) {
      out.push_back(value(depth + 1));
      if (skip(',')) {
        comma = true;
      } else if (peek() != end) {
        refuse();
      }
    }
    if (out.size() != 1 || comma) return out;
    nlohmann::json only = std::move(out[0]);
    return only;
  }

  std::string string() {
    const char quote = text_[at_++];
    std::string out;
    for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
      out += text_[at_] == '\\' ? escaped() : text_[at_];
    }
    if (at_ == text_.size()) refuse();
    ++at_;
    return out;
  }

  /// The character that the escape sequence at the current place means.
  char escaped() {
    ++at_;
    switch (at_ < text_.size() ? text_[at_] : '\0') {
      case '\\': return '\\';
      case '\'': return '\'';
      case '"': return '"';
      case 'n': return '\n';
      case 't': return '\t';
      default: refuse();
    }
  }

  /// None, True, False, or a number, which JSON writes in the same way.
  nlohmann::json word() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    std::string_view name = text_.substr(begin, at_ - begin);
    if (name == "None") return nullptr;
    if (name == "True") return true;
    if (name == "False") return false;
    nlohmann::json number = nlohmann::json::parse(json_number(name), nullptr, false);
    if (!number.is_number()) refuse();
    return number;
  }

  static bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '+' ||
           c == '_';
  }

  /// Python also allows "1." and ".5", where JSON wants a digit on both sides.
  static std::string json_number(std::string_view python) {
    std::string out;
    for (std::size_t i = 0; i < python.size(); ++i) {
      const auto digit = [&](std::size_t at) {
        return at < python.size() && std::isdigit(static_cast<unsigned char>(python[at])) != 0;
      };
      const bool point = python[i] == '.';
      if (point && (i == 0 || !digit(i - 1))) out += '0';
      if (!(i == 0 && python[i] == '+')) out += python[i];
      if (point && !digit(i + 1)) out += '0';
    }
    return out;
  }

  std::string_view text_;
  std::string_view what_;
  std::size_t at_ = 0;
};

}  // namespace detail

inline nlohmann::json python_literal(std::string_view text, std::string_view what) {
  return detail::PythonReader(text, what).all();
}

}  // namespace weft
