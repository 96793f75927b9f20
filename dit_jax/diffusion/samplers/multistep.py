"""DPM-Solver: multistep methods that are exact but for the change of what is believed.

In l = log(alpha / sigma) the ODE's linear part is solved exactly, and what is left is
the integral of x0 (or eps) against an exponential; orders 2 and 3 take a polynomial
through the beliefs of the last calls. Lu et al. 2022, arXiv:2206.00927 (eps) and
arXiv:2211.01095 (x0, "++", and the SDE forms).

With h the step in l and phi(h) below, a step from s to e is

    x_e = scale x_s + weight (d0 + p1(h) d1 + p2(h) d2) [+ noise z]

where d0 is the newest belief and d1, d2 are h times its first and h^2 times its second
derivative in l, from divided differences.
"""
