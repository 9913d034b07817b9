#pragma once

#include "compressed_linear.hpp"
#include "progress.hpp"

namespace compress_model {

/// Compresses every layer of a model whose operators are SourceOperators, in the order in which
/// they are applied: after it they are of `method`. Returns what the layers are made of.
///
/// `run` sends the calibration data through the model. For a method that calibrates it is called
/// before every layer, so that a layer is fitted to what it gets from the layers before it, which
/// are already compressed.
template <class Model, class Run>
CompressedLayers compress(Model& model, const Method& method, Run run, const Context& ctx,
                          Progress& progress) {
  Index layers = 0;
  model.for_each_linear([&](const auto&, const auto&, const auto&) { ++layers; });
  CompressedLayers out;
  model.for_each_linear([&](const std::string& name, Linear& op, const auto& norm) {
    progress.at(static_cast<Index>(out.size()), layers, std::string(method.name) + " " + name);
    auto* source = op.get_if<SourceOperator>();
    weft::require(source != nullptr, name, " is compressed already");
    if (method.calibrates()) {
      source->note_inputs();
      run();
    }
    std::vector<View<float, 1>> norm_parameters;
    for (const auto& parameter : norm) norm_parameters.push_back(parameter.values);
    auto layer = compress_linear(method, source->weight(), source->bias(), source->inputs(),
                                 norm_parameters, ctx);
    op = layer.make_operator();
    out.emplace(name, std::move(layer));
  });
  progress.done();
  return out;
}

}  // namespace compress_model
