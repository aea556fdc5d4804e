// The pointwise mathematics of the cells: plain C++ on single numbers, float or double, said once for every kernel.
// Blocks stand in the order of fastrnn/cells.
//
// A cell, a template over its activation (Tanh or Relu of common.cuh), gives
//   first, second     gate blocks of its one or two products; G = first + second
//   states            S / n
//   kept              gates the way back reads, 0 or G
//   noisy             whether its pre-activations may have noise in training
//   forward           pre-activations a and the state before the step to the gates and the state after it
//   backward          gradients da of the pre-activations, and dstate, the part of the gradient by the state before
//                     that passes through no matrix product, from dnext, the gradient by the state after
//   slopes            d state' by each pre-activation and directly by the state before, for Jacobians
// The GRU has two products and these functions in two parts each.
#pragma once

#include "../common.cuh"
#include "current.cuh"
#include "gru.cuh"
#include "leaky.cuh"
#include "lstm.cuh"
#include "ugrnn.cuh"
#include "vanilla.cuh"
