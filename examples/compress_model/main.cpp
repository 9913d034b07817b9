/// Compresses a real model and says what that costs: see options.cpp for the command line.
///
///   compress_model --method int8,gptq4                              a language model
///   compress_model --kv int8,kivi4                                  its keys and values
///   compress_model --model build/models/use-lite --method gptq4 --save small.safetensors
///   compress_model --model build/models/use-lite --load small.safetensors
///
/// prints, on one core (columns shortened):
///
///   method     weights MB  of fp32  bits/weight  speed-up  mean cosine  worst cosine  rank corr.
///   fp32           19.695   1.0000        32.05      1.00     1.000000      1.000000      1.0000
///   int8            4.983   0.2530         8.11      3.80     0.999601      0.999290      0.9996
///   gptq4           3.106   0.1577         5.05      0.96     0.987595      0.976327      0.9881
///
/// The models are those of examples/sentence_encoder and examples/generate, on operators that are
/// chosen at run time (compressed_linear.hpp). compress_linear.cpp has the methods, archive.hpp the
/// file format.
#include "options.hpp"
#include "run_encoder.hpp"
#include "run_language_model.hpp"
#include <weft/core/thread_pool.hpp>

#include <iostream>

namespace {

using namespace compress_model;

void run(const Options& options) {
  weft::ThreadPool pool(options.threads);
  const weft::Context ctx = options.threads == 1 ? weft::Context() : weft::Context(pool);
  if (options.random || std::filesystem::is_directory(options.model))
    return run_encoder(options, ctx);
  run_language_model(options, ctx);
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = parse_options(argc, argv);
  if (const auto* complaint = std::get_if<Complaint>(&parsed)) {
    std::cerr << "compress_model: " << *complaint << "\n\n" << usage();
    return 2;
  }
  const auto& options = std::get<Options>(parsed);
  if (options.help) {
    std::cout << usage();
    return 0;
  }
  try {
    run(options);
    return 0;
  } catch (const std::exception& trouble) {
    std::cerr << "compress_model: " << trouble.what() << '\n';
    return 1;
  }
}
