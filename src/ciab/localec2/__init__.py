"""An EC2 region on this machine: a program of its own, reached only over the network.

It is for trying, developing and testing. The API's shapes come from moto; what moto lacks and
correctness depends on stands in front of it; the instances are real SSH servers.
"""
