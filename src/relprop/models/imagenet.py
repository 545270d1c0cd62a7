"""What models trained on ImageNet-1k share: class names and the usual ways to prepare an image."""

from importlib import resources

from relprop.data.preprocessing import Preprocessing

# The first WordNet lemma of each class's synset, in the order of the synsets; told apart where two
# classes share it (the crane that flies and the crane that lifts).
IMAGENET_CLASSES: tuple[str, ...] = tuple(
    resources.files("relprop.models")
    .joinpath("imagenet_classes.txt")
    .read_text(encoding="utf-8")
    .splitlines()
)


def caffe_preprocessing(size: int) -> Preprocessing:
    """Caffe's: the shorter side to 256, the centre cut out, BGR in 0..255 minus the mean colour."""
    return Preprocessing(
        size=(size, size),
        crop=size / 256,
        channel_order="BGR",
        scale=255,
        mean=(103.939, 116.779, 123.68),
    )


TORCH_PREPROCESSING = Preprocessing(
    size=(224, 224),
    crop=0.875,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

LITE_PREPROCESSING = Preprocessing(
    size=(224, 224),
    crop=0.875,
    interpolation="bicubic",
    scale=255,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)
