"""x"""


def run_demo(out):
    pass
