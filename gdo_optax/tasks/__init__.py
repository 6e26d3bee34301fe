"""Several losses at once: every balancer is a rule for the weights of the sum of the tasks' gradients."""
