"""Every tolerance of the tests, in one place; all are relative errors in norm unless a line says otherwise.

float32 keeps 6e-8; a sum over B T steps of a recurrence loses one to two digits of it.
"""

GRADIENT = 1e-5  # float32 engine against the float64 oracle, each parameter by itself
LOSS = 2e-6  # the same for the loss
STATES = 2e-6  # states and outputs of a rollout in float32
TRAJECTORY = 1e-5  # losses and velocities after several iterations, and how far training moved the weights
EXACT_FORMULA = 1e-12  # the same formula twice in float64
CENTRAL_DIFFERENCE = 1e-8  # float64, steps of 1e-6: truncation and cancellation both about 1e-10
NORMALS = 3e-7  # absolute, per unit of the pair's radius: float32 logarithm, sine and cosine of our own
GRADIENT_BF16X3 = 3e-5  # operands of matrix products in two parts of bf16, 16 bits together
STATES_BF16X3 = 1e-5  # the same for states and outputs, and for losses of many trials
LOSS_BF16X3 = 3e-5  # for losses of few numbers: a product of two errs by up to 3 x 2^-18, its square by twice that
