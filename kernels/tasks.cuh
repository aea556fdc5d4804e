// The built-in tasks, a function each that fills one trial: the trials of fastrnn/tasks, bit for bit but for normals,
// whose logarithms and roots may differ by 4 ulp, and the sine's targets: a device's sin and cos of float64 may differ
// by 2 ulp from a processor's, after which one in 50,000 of 500 steps is rounded to float32 the other way.
//
// inputs, targets: the trial's first step; from one step to the next, `input_step` and `target_step` floats. Sums of
// products are fused where the CPU engine's compiler fuses them.
#pragma once

#include "philox.cuh"

// Flip-flop memory (fastrnn/tasks/flipflop.py); settings: channels, steps, pulse_probability.
struct FlipFlop {
  static __device__ void trial(const Stream& stream, const double* settings, float* inputs, float* targets, int T,
                               int input_step, int target_step) {
    const int channels = static_cast<int>(settings[0]);
    const double scaled = settings[2] * 4294967296.0;
    const u32 limit = scaled < 4294967295.0 ? static_cast<u32>(scaled) : 4294967295u, half = limit >> 1;
    Words words = stream.block(0);
    for (int t = 0, e = 0; t < T; t++) {
      for (int j = 0; j < channels; j++, e++) {
        if (e && e % 4 == 0) words = stream.block(e / 4);
        const u32 word = words.w[e % 4];
        float pulse = word < limit ? (word < half ? 1.0f : -1.0f) : 0.0f;
        if (t == 0) pulse = word >= 0x80000000u ? 1.0f : -1.0f;
        inputs[j] = pulse;
        targets[j] = pulse != 0.0f ? pulse : targets[j - target_step];
      }
      inputs += input_step;
      targets += target_step;
    }
  }
};

// Sine wave generation (fastrnn/tasks/sine.py); settings: steps, frequency_slope, frequency_offset.
struct Sine {
  static __device__ void trial(const Stream& stream, const double* settings, float* inputs, float* targets, int T,
                               int input_step, int target_step) {
    const float u = float(stream.word(0) >> 8) * 5.9604644775390625e-08f;
    // sin((t + 1) a) = 2 cos(a) sin(t a) - sin((t - 1) a)
    const double a = 2.0 * 3.14159265358979323846 * fma(settings[1], double(u), settings[2]);
    double before = 0.0, now = sin(a);
    const double twice = 2.0 * cos(a);
    for (int t = 0; t < T; t++) {
      *inputs = u;
      *targets = static_cast<float>(now);
      const double next = fma(twice, now, -before);
      before = now;
      now = next;
      inputs += input_step;
      targets += target_step;
    }
  }
};

// Context-dependent integration (fastrnn/tasks/cdi.py); settings: steps, mean_limit, noise.
struct Cdi {
  static __device__ void trial(const Stream& stream, const double* settings, float* inputs, float* targets, int T,
                               int input_step, int target_step) {
    const Words head = stream.block(0);
    const int context = head.w[0] >= 0x80000000u;
    float mean[2];
    for (int j = 0; j < 2; j++)
      mean[j] = static_cast<float>(settings[1] * fma(2.0, double(head.w[1 + j]) * 2.3283064365386963e-10, -1.0));
    const Stream noise = stream.further(1);
    const float deviation = static_cast<float>(settings[2]);
    double total = 0.0;
    for (int t = 0; t < T; t++) {
      for (int j = 0; j < 2; j++) {
        inputs[j] = context == j;
        inputs[2 + j] = fmaf(deviation, normal(noise, 2 * t + j, 2 * T), mean[j]);
      }
      total += inputs[2 + context];
      *targets = static_cast<float>(total);
      inputs += input_step;
      targets += target_step;
    }
  }
};
