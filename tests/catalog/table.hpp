#pragma once

#include <weft/catalog.hpp>

#include <string>

/// The README's table of variants, made from the catalog.
namespace catalog {

inline const std::string kBegin = "<!-- variants:begin -->\n";
inline const std::string kEnd = "<!-- variants:end -->";

inline std::string key(const weft::CatalogEntry& entry) {
  return std::string(entry.family) + "/" + std::string(entry.name);
}

inline std::string verbs(const weft::Modes& modes) {
  std::string text;
  const auto add = [&](bool has, const char* verb) {
    if (has) text += (text.empty() ? "" : ", ") + std::string(verb);
  };
  add(modes.forward, "forward");
  add(modes.prefill, "prefill");
  add(modes.step, "step");
  return text;
}

inline std::string paper(const weft::Paper& paper) {
  const std::string title(paper.title), id(paper.arxiv);
  return id.empty() ? title : title + " ([" + id + "](https://arxiv.org/abs/" + id + "))";
}

inline std::string table() {
  std::string text = "| variant | in code | what it computes | verbs | paper |\n";
  text += "| --- | --- | --- | --- | --- |\n";
  for (const weft::CatalogEntry& entry : weft::kCatalog) {
    text += "| `" + key(entry) + "` | `" + std::string(entry.use) + "` | " +
            std::string(entry.summary) + " | " + verbs(entry.modes) + " | " + paper(entry.paper) +
            " |\n";
  }
  return text;
}

/// A text with what stands between the two markers replaced; empty when it has no markers.
inline std::string with_table(const std::string& readme) {
  const std::size_t begin = readme.find(kBegin);
  const std::size_t end = readme.find(kEnd);
  if (begin == std::string::npos || end == std::string::npos || end < begin) return "";
  return readme.substr(0, begin + kBegin.size()) + table() + readme.substr(end);
}

}  // namespace catalog
