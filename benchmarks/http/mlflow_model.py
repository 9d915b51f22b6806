"""The same scoring function behind `mlflow models serve`, in an environment of its own.

Saved without a signature, so that nothing is enforced, and asked with `dataframe_split`, the form of its
documents.
"""

from __future__ import annotations

import sys

import mlflow.models
import mlflow.pyfunc

from benchmarks.http.scoring import load_premium


class Premium(mlflow.pyfunc.PythonModel):
    """Risk premiums of one product."""

    def load_context(self, context):  # noqa: ANN001, ANN201 - MLflow makes a signature out of annotations
        """Load the bundle that was saved with the model."""
        self._premium = load_premium(context.artifacts["bundle"])

    def predict(self, context, model_input, params=None):  # noqa: ANN001, ANN201, ARG002
        """Give the risk premium of each row, minor units."""
        rows = zip(model_input["risk"], model_input["profile"], strict=True)
        return [self._premium(risk, profile) for risk, profile in rows]


mlflow.models.set_model(Premium())

if __name__ == "__main__":
    folder, bundle = sys.argv[1:]
    mlflow.pyfunc.save_model(folder, python_model=__file__, artifacts={"bundle": bundle})
