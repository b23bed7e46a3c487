"""Operators that onnxruntime runs fused on a CPU, one file each.

A function here is plain torch when it is called, and one node (or few) of the engine's own operator set while a graph
is being made. The parity of module and graph, which every export measures, is therefore also the proof that the two
forms are the same.
"""
