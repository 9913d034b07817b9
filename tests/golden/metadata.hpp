#pragma once

#include "golden/report.hpp"
#include <weft/io/python_literal.hpp>
#include <weft/io/safetensors.hpp>

#include <set>
#include <string>
#include <vector>

/// What a golden file says about its cases.
namespace golden {

/// Cases of a file: the tensors of case NAME are called NAME.something.
inline std::vector<std::string> case_names(const weft::SafetensorsFile& file) {
  std::set<std::string> names;
  for (const std::string& tensor : file.names()) {
    const std::size_t dot = tensor.find('.');
    if (dot != std::string::npos) names.insert(tensor.substr(0, dot));
  }
  return {names.begin(), names.end()};
}

inline std::string metadata_of(const weft::SafetensorsFile& file, const std::string& key) {
  const auto at = file.metadata().find(key);
  return at == file.metadata().end() ? "" : at->second;
}

/// The Python dictionary under the key case.NAME; empty when there is none.
inline nlohmann::json case_options(const weft::SafetensorsFile& file, const std::string& name) {
  const std::string text = metadata_of(file, "case." + name);
  if (text.empty()) return nlohmann::json::object();
  return weft::python_literal(text, file.name() + ": case." + name);
}

/// Text up to the first of some characters, which is cut off the front of `rest` with them.
inline std::string cut(std::string& rest, const char* ends) {
  const std::size_t end = rest.find_first_of(ends);
  std::string head = rest.substr(0, end);
  rest = end == std::string::npos ? "" : rest.substr(end + 1);
  return head;
}

/// What a sentence like "self/tail: mode full; causal: bottom-right" or "h8 causal_br, h6 plain"
/// says about one name. Clauses end with a semicolon, or with a comma where there is no semicolon.
inline std::string described(std::string sentence, const std::string& name) {
  const char* separator = sentence.find(';') == std::string::npos ? "," : ";";
  while (!sentence.empty()) {
    std::string clause = cut(sentence, separator);
    clause.erase(0, clause.find_first_not_of(' '));
    std::string labels = cut(clause, ": ");
    while (!labels.empty()) {
      if (cut(labels, "/") == name) return clause;
    }
  }
  return "";
}

/// Whether a case is causal (bottom-right): by its options if it has them, else by the sentence in
/// the metadata entry `cases`, else by its own name.
inline bool is_causal(const weft::SafetensorsFile& file, const std::string& name) {
  std::string text = metadata_of(file, "case." + name);
  if (text.empty()) text = described(metadata_of(file, "cases"), name);
  if (text.empty()) text = name;
  return text.find("causal") != std::string::npos || text.find("bottom-right") != std::string::npos;
}

/// Runs f(T{}, case, name) for every case of the file, T = double and then float.
template <class F>
void run_cases(const weft::SafetensorsFile& file, Report& report, F&& f) {
  for (const std::string& name : case_names(file)) {
    report.run(name, [&](Case& c) {
      f(double{}, c, name);
      f(float{}, c, name);
    });
  }
}

}  // namespace golden
