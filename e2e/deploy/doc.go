// Package deploy shows that deploys are quiet: nodes restart one after another and others join while thousands of clients are at work; nobody loses an
// action, and clients connect again at a bounded rate.
//
// DEPLOY_LOAD=D is for acceptance: ten thousand clients of which nine thousand are idle, and times that must hold on a machine with nothing else to do.
package deploy
