#pragma once

/// Kernelized, low-rank and latent attention: softmax or another kernel of fewer keys than tokens.
#include <weft/attention/kernelized/combiner.hpp>
#include <weft/attention/kernelized/ecoformer.hpp>
#include <weft/attention/kernelized/fit.hpp>
#include <weft/attention/kernelized/informer.hpp>
#include <weft/attention/kernelized/informer_distil.hpp>
#include <weft/attention/kernelized/kernel_hash.hpp>
#include <weft/attention/kernelized/linformer.hpp>
#include <weft/attention/kernelized/luna.hpp>
#include <weft/attention/kernelized/mdta.hpp>
#include <weft/attention/kernelized/nystromformer.hpp>
#include <weft/attention/kernelized/performer.hpp>
#include <weft/attention/kernelized/random_features.hpp>
#include <weft/attention/kernelized/relative_fft.hpp>
#include <weft/attention/kernelized/soft.hpp>
#include <weft/attention/kernelized/synthesizer.hpp>
#include <weft/attention/kernelized/toeplitz.hpp>
