#pragma once

/// Kernelized, low-rank and latent attention: softmax or another kernel of fewer keys than tokens.
#include <weft/attention/kernelized/ecoformer.hpp>
#include <weft/attention/kernelized/kernel_hash.hpp>
#include <weft/attention/kernelized/performer.hpp>
#include <weft/attention/kernelized/random_features.hpp>
