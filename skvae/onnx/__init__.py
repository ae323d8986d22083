"""Export of fitted models to ONNX, which run without Python, torch or skvae.

`to_onnx` exports a method of an estimator. Importing this module also registers the
estimators with skl2onnx, whose `to_onnx` then converts pipelines that hold them.
"""

try:
    from skvae.onnx.converters import register
    from skvae.onnx.export import to_onnx
except ImportError as error:
    raise ImportError(
        'Export needs onnx and skl2onnx: pip install "skvae[onnx]".'
    ) from error

__all__ = ["to_onnx"]

register()
