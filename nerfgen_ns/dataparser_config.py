"""The entry point of the data parser.

nerfstudio loads it while its own data managers are still being imported, so nothing here may import a data
manager, the trainer or a method.
"""

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig

nerfgen_data = DataParserSpecification(
    config=NerfgenDataParserConfig(),
    description="nerfgen: photographs of one class, one object each; they are prepared first where needed",
)
