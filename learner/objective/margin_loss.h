#pragma once

namespace troupe {

/// -log sigmoid(margin) and its derivative, -sigmoid(-margin). Of the difference of two scores it is the loss of a reward model
/// that learns from comparisons (Bradley-Terry; InstructGPT, Ouyang et al. 2022, eq. 1 with K = 2); of a score, or its negative,
/// that of one that learns from judgements (logistic regression). Finite for every finite margin.
struct MarginLoss {
  double loss = 0;
  double slope = 0;
};
MarginLoss margin_loss(double margin);

}  // namespace troupe
