def read_evaluation(root):
    return root


def write_report(path, evaluations):
    pass
