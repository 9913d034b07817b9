#pragma once

#include <weft/core/check.hpp>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Things with a `name`, as a command line asks for them.
namespace compress_model {

/// Throws weft::error with all names when there is none of this one.
template <class Thing>
const Thing& thing_called(const char* what, std::span<const Thing> things, std::string_view name) {
  const auto found =
      std::find_if(things.begin(), things.end(), [&](const Thing& t) { return t.name == name; });
  if (found != things.end()) return *found;
  std::string all;
  for (const Thing& t : things) all.append(" ").append(t.name);
  weft::fail("there is no " + std::string(what) + " \"" + std::string(name) +
             "\"; there are:" + all);
}

/// Names separated by commas, or "all". Throws as above.
template <class Thing>
std::vector<Thing> things_called(const char* what, std::span<const Thing> things,
                                 std::string_view names) {
  if (names == "all") return {things.begin(), things.end()};
  std::vector<Thing> out;
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find(',', begin), names.size());
    out.push_back(thing_called(what, things, names.substr(begin, end - begin)));
    begin = end + 1;
  }
  return out;
}

}  // namespace compress_model
